package otlpcodec

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Split cuts an encoded export request in two of about half its items each,
// working on the wire bytes: resources and scopes are repeated in both halves,
// fields it does not know are kept, but for groups, which OTLP never had: pdata
// reads one by what stands behind it. It returns ErrOneItem when there is nothing
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
	left, right = new(Scratch).halve(s, Piece{Raw: raw, Items: items})
	return left, right, nil
}

// Scratch is memory for the pieces of one call at a time, to be used again by the
// next: then the pieces of the one before are no longer valid. The zero value is
// empty. It must not be used concurrently.
type Scratch struct {
	free   []byte
	halves [][]byte // what has to be cut again, by depth: one pair at a time
}

// maxScratch bounds what is kept for the next call, in bytes.
const maxScratch = 4 << 20

// begin ends the life of all pieces that were made in s.
func (s *Scratch) begin(need int) {
	if cap(s.free) < need || cap(s.free) > maxScratch {
		s.free = make([]byte, 0, need)
	}
	s.free = s.free[:0]
	s.halves = slices.DeleteFunc(s.halves, func(b []byte) bool { return cap(b) > maxScratch })
}

// pair empties the halves at depth and makes room for size bytes of them.
func (s *Scratch) pair(depth, size int) {
	for len(s.halves) <= depth {
		s.halves = append(s.halves, nil)
	}
	s.halves[depth] = slices.Grow(s.halves[depth][:0], size)
}

// halve splits a request that was checked, of two items at least.
func (s *Scratch) halve(signal frame.Signal, p Piece) (left, right Piece) {
	h := requests[signal].cut(p.Raw, p.Items/2)
	return Piece{Raw: s.join(h.left), Items: p.Items / 2}, Piece{Raw: s.join(h.right), Items: p.Items - p.Items/2}
}

// join returns the message in one slice, behind what else is in s.
func (s *Scratch) join(p parts) []byte {
	if cap(s.free)-len(s.free) < p.size {
		s.free = make([]byte, 0, max(p.size, cap(s.free)))
	}
	var joined []byte
	s.free, joined = p.appendTo(s.free)
	return joined
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
	if maxSize > 0 && int64(len(p.Raw)) > maxSize {
		items, err := Count(s, p.Raw)
		if err != nil {
			return nil, fmt.Errorf("split %d bytes: %w", len(p.Raw), err)
		}
		p.Items = items
	}
	return new(Scratch).Divide(s, p, maxSize), nil
}

// Divide is SplitTo for a request that Count has taken and whose items are right.
// The pieces may be in s or in p, and are valid until the next use of s.
func (s *Scratch) Divide(signal frame.Signal, p Piece, maxSize int64) []Piece {
	d := divider{scratch: s, signal: signal, maxSize: maxSize, spare: 3 * len(p.Raw)}
	if !d.fits(len(p.Raw)) {
		s.begin(len(p.Raw) + len(p.Raw)/8)
	}
	d.divide(p, 0)
	return d.pieces
}

// divider splits one request.
type divider struct {
	scratch *Scratch
	signal  frame.Signal
	maxSize int64
	spare   int // bytes that may still be repeated
	pieces  []Piece
}

// divide appends p or what it is cut into. Below depth 0 p is one of the scratch's
// halves[depth-1], unless it fits.
func (d *divider) divide(p Piece, depth int) {
	if d.fits(len(p.Raw)) || p.Items < 2 || d.signal == frame.Profiles {
		d.keep(p, depth)
		return
	}
	h := requests[d.signal].cut(p.Raw, p.Items/2)
	l, r := h.left, h.right
	repeated := l.size + r.size - len(p.Raw)
	fair := repeated <= len(p.Raw)/2 || d.fits(l.size) && d.fits(r.size)
	if !fair || repeated > d.spare {
		d.keep(p, depth)
		return
	}
	d.spare -= repeated
	again := 0
	for _, half := range []parts{l, r} {
		if !d.fits(half.size) {
			again += half.size
		}
	}
	if again > 0 {
		d.scratch.pair(depth, again)
	}
	left := Piece{Raw: d.join(l, depth), Items: p.Items / 2}
	right := Piece{Raw: d.join(r, depth), Items: p.Items - p.Items/2}
	d.divide(left, depth+1)
	d.divide(right, depth+1)
}

// join returns the message in one slice: what fits is kept.
func (d *divider) join(p parts, depth int) []byte {
	if d.fits(p.size) {
		return d.scratch.join(p)
	}
	half := &d.scratch.halves[depth]
	var joined []byte
	*half, joined = p.appendTo(*half)
	return joined
}

// keep appends p.
func (d *divider) keep(p Piece, depth int) {
	if depth > 0 && !d.fits(len(p.Raw)) {
		p.Raw = d.scratch.join(parts{slices: [][]byte{p.Raw}, size: len(p.Raw)})
	}
	d.pieces = append(d.pieces, p)
}

func (d *divider) fits(size int) bool { return d.maxSize <= 0 || int64(size) <= d.maxSize }

// halves is a message that was cut in two.
type halves struct {
	left, right parts
	n           int64 // items in left
	more        bool  // there are items in right
}

// cut puts the first at items of a message that was walked before, 0 < at, into
// the left half and the others into the right one.
func (m *message) cut(b []byte, at int64) (h halves) {
	chosen := m.chosen(b)
	for i := 0; i < len(b); {
		w, end, _ := nextField(b, i)
		whole, body, head := b[i:end], b[w.body:end], b[i:w.body]
		f := m.numbered(w.num)
		replaced := f.role == oneof && i != chosen
		i = end
		switch {
		case w.group: // it may be good only with the other half behind it
		case f.role == plain:
			h.left.add(whole)
			h.right.add(whole)
		case replaced: // nobody reads it
		case h.n == at:
			h.right.add(whole)
			h.more = h.more || f.role == item || f.msg.count(body) > 0
		case f.role == item:
			h.left.add(whole)
			h.n++
		default:
			below := f.msg.cut(body, at-h.n)
			if h.n += below.n; !below.more {
				h.left.add(whole)
				continue
			}
			h.left.nest(head, below.left)
			h.right.nest(head, below.right)
			h.more = true
		}
	}
	return h
}

// count returns the items of a message that was walked before. It looks at
// nothing below them.
func (m *message) count(b []byte) (items int64) {
	var chosen int64
	for i := 0; i < len(b); {
		w, end, _ := nextField(b, i)
		switch f := m.numbered(w.num); f.role {
		case item:
			items++
		case path:
			items += f.msg.count(b[w.body:end])
		case oneof:
			chosen = f.msg.count(b[w.body:end])
		case plain:
		}
		i = end
	}
	return items + chosen
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
	if !slices.ContainsFunc(m.fields[:], func(f field) bool { return f.role == oneof }) {
		return last
	}
	for i := 0; i < len(b); {
		w, end, _ := nextField(b, i)
		if m.numbered(w.num).role == oneof {
			last = i
		}
		i = end
	}
	return last
}

// parts is a message in slices of the one it is cut from, copied once at the end.
type parts struct {
	slices [][]byte
	size   int
}

// add adds b, to the last slice if it stands behind that in memory.
func (p *parts) add(b []byte) {
	p.size += len(b)
	if n := len(p.slices); n > 0 && len(b) > 0 {
		last := p.slices[n-1]
		if cap(last) > len(last) && &last[:len(last)+1][len(last)] == &b[0] {
			p.slices[n-1] = last[:len(last)+len(b)]
			return
		}
	}
	p.slices = append(p.slices, b)
}

// appendTo returns dst with the message behind it, and the message alone.
func (p *parts) appendTo(dst []byte) (all, joined []byte) {
	begin := len(dst)
	for _, b := range p.slices {
		dst = append(dst, b...)
	}
	return dst, dst[begin:len(dst):len(dst)]
}

// nest adds a nested message under the tag that head begins with.
func (p *parts) nest(head []byte, body parts) {
	tag, _, _ := uvarint(head, 0)
	p.add(binary.AppendUvarint(binary.AppendUvarint(nil, tag), uint64(body.size))) //nolint:gosec // a length
	p.slices = append(p.slices, body.slices...)
	p.size += body.size
}
