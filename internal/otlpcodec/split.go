package otlpcodec

import (
	"encoding/binary"
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Split cuts an encoded export request in two of about half its items each,
// working on the wire bytes: resources and scopes are repeated in both halves,
// fields it does not know are kept. It returns ErrOneItem when there is nothing
// to cut, and an error with ErrMalformed or ErrDeprecated in its chain for what
// Count refuses. Profiles are never split: their records share one dictionary.
func Split(s frame.Signal, raw []byte) (left, right Piece, err error) {
	items, err := Count(s, raw)
	if err != nil {
		return Piece{}, Piece{}, err
	}
	if items < 2 || s == frame.Profiles {
		return Piece{}, Piece{}, ErrOneItem
	}
	left.Items, right.Items = items/2, items-items/2
	left.Raw, right.Raw = requests[s].cut(raw, left.Items)
	return left, right, nil
}

// SplitTo splits until no piece is larger than maxSize bytes or holds more than
// one item, in the order of the items. A request that fits is returned as it
// is; a maxSize of 0 or less fits everything.
//
// Every cut repeats a resource and a scope. A piece stays whole, hence too large,
// if that would be most of its halves, or if all pieces together would be more
// than four times as large as p: else 2 MB could become 5 GB. Only a resource of
// about maxSize comes to that.
func SplitTo(s frame.Signal, p Piece, maxSize int64) ([]Piece, error) {
	d := divider{signal: s, maxSize: maxSize, spare: 3 * len(p.Raw)}
	if err := d.divide(p); err != nil {
		return nil, err
	}
	return d.pieces, nil
}

// divider splits one request.
type divider struct {
	signal  frame.Signal
	maxSize int64
	spare   int // bytes that may still be repeated
	pieces  []Piece
}

func (d *divider) divide(p Piece) error {
	if d.fits(p) || p.Items < 2 || d.signal == frame.Profiles {
		d.pieces = append(d.pieces, p)
		return nil
	}
	left, right, err := Split(d.signal, p.Raw)
	if err != nil {
		return fmt.Errorf("split %d bytes: %w", len(p.Raw), err)
	}
	repeated := len(left.Raw) + len(right.Raw) - len(p.Raw)
	fair := repeated <= len(p.Raw)/2 || d.fits(left) && d.fits(right)
	if !fair || repeated > d.spare {
		d.pieces = append(d.pieces, p)
		return nil
	}
	d.spare -= repeated
	if err := d.divide(left); err != nil {
		return err
	}
	return d.divide(right)
}

func (d *divider) fits(p Piece) bool { return d.maxSize <= 0 || int64(len(p.Raw)) <= d.maxSize }

// cut puts the first at items of a message that was walked before into left and
// the others into right. Both get at least one: 0 < at < the items of b.
func (m *message) cut(b []byte, at int64) (left, right []byte) {
	left, right = make([]byte, 0, len(b)/2+256), make([]byte, 0, len(b)/2+256)
	chosen := m.chosen(b)
	for i := 0; i < len(b); {
		w, end, _ := nextField(b, i)
		whole := b[i:end]
		head := b[i:w.body]
		f := m.numbered(w.num)
		replaced := f.role == oneof && i != chosen
		i = end
		if f.role == plain {
			left, right = append(left, whole...), append(right, whole...)
			continue
		}
		n := int64(1)
		if f.role != item {
			n, _ = new(walker).walk(f.msg, b[w.body:end], maxDepth)
		}
		switch {
		case replaced: // nobody reads it
		case at == 0:
			right = append(right, whole...)
		case n <= at:
			left = append(left, whole...)
			at -= n
		default:
			l, r := f.msg.cut(b[w.body:end], at)
			left, right = appendNested(left, head, l), appendNested(right, head, r)
			at = 0
		}
	}
	return left, right
}

// numbered returns the field with a number.
func (m *message) numbered(num int32) field {
	if int(num) < len(m.fields) {
		return m.fields[num]
	}
	return field{}
}

// chosen returns where in b the field begins that its oneof ends up with, -1
// when there is none.
func (m *message) chosen(b []byte) int {
	last := -1
	for i := 0; i < len(b); {
		w, end, _ := nextField(b, i)
		if m.numbered(w.num).role == oneof {
			last = i
		}
		i = end
	}
	return last
}

// appendNested appends a nested message under the tag that head begins with.
func appendNested(dst, head, body []byte) []byte {
	tag, _, _ := uvarint(head, 0)
	dst = binary.AppendUvarint(dst, tag)
	dst = binary.AppendUvarint(dst, uint64(len(body)))
	return append(dst, body...)
}
