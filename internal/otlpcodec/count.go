package otlpcodec

import (
	"errors"
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// maxDepth is how deep messages may nest. A map inside a map takes three
// messages, so real data stays far below; pdata, which has no limit of its own
// and would overflow the stack, needs less than a megabyte of it at this depth.
const maxDepth = 1000

// The wire types of protobuf. Groups (3 and 4) are refused: OTLP never had any.
const (
	wireVarint = 0
	wire64     = 1
	wireLen    = 2
	wire32     = 5
)

var (
	errCut       = fmt.Errorf("%w: cut off, or a length that points beyond the end", ErrMalformed)
	errVarint    = fmt.Errorf("%w: a varint of more than 64 bits", ErrMalformed)
	errTag       = fmt.Errorf("%w: an impossible field number", ErrMalformed)
	errWire      = fmt.Errorf("%w: a field of the wrong wire type", ErrMalformed)
	errIDLength  = fmt.Errorf("%w: a trace, span or profile id of the wrong length", ErrMalformed)
	errDepth     = fmt.Errorf("%w: nested deeper than %d messages", ErrMalformed, maxDepth)
	errPacked    = fmt.Errorf("%w: a packed field of the wrong length", ErrMalformed)
	errTwoOneofs = fmt.Errorf("%w: a metric of two types", ErrMalformed)
)

// Count walks over an encoded export request without decoding it and returns
// its number of items: spans, data points, log records or samples. It checks
// every length, wire type and id down to the last attribute, allocates nothing
// unless it fails, and never panics. Fields it does not know are skipped. Every
// error has ErrMalformed or ErrDeprecated in its chain; ErrDeprecated means that
// all of the request was checked and nothing else is wrong with it.
func Count(s frame.Signal, raw []byte) (items int64, err error) {
	if int(s) >= len(requests) {
		return 0, fmt.Errorf("count: unknown signal %s", s)
	}
	items, err = requests[s].walk(raw, maxDepth)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s, err)
	}
	return items, nil
}

// walk checks one message and counts the items in it. ErrDeprecated is held back
// until the end: who gets it hands the bytes to pdata, so all must be checked.
func (m *message) walk(b []byte, depth int) (items int64, err error) {
	if depth == 0 {
		return 0, errDepth
	}
	seen := false
	var deprecated error
	for i := 0; i < len(b); {
		w, end, err := nextField(b, i)
		if err != nil {
			return 0, err
		}
		i = end
		f := field{}
		if w.num < uint64(len(m.fields)) {
			f = m.fields[w.num]
		} else if m.moved != nil && w.num == movedField {
			f, deprecated = field{kind: nested, msg: m.moved}, ErrDeprecated
		}
		body := b[w.body:end]
		if f.kind != nested {
			if err := f.kind.check(w.wire, body); err != nil {
				return 0, err
			}
			continue
		}
		if w.wire != wireLen {
			return 0, errWire
		}
		n, err := f.msg.walk(body, depth-1)
		if err != nil {
			if !errors.Is(err, ErrDeprecated) {
				return 0, err
			}
			deprecated = err
		}
		switch f.role {
		case item:
			n = 1
		case oneof:
			if seen {
				return 0, errTwoOneofs
			}
			seen = true
		}
		items += n
	}
	return items, deprecated
}

// check holds one value that is not a message against its kind.
func (k kind) check(wire uint8, body []byte) error {
	ok := true
	switch k {
	case varint:
		ok = wire == wireVarint
	case fixed64:
		ok = wire == wire64
	case fixed32:
		ok = wire == wire32
	case text:
		ok = wire == wireLen
	case id8, id16:
		if ok = wire == wireLen; ok && len(body) != 0 && len(body) != idLength(k) {
			return errIDLength
		}
	case packed64:
		if ok = wire == wire64 || wire == wireLen; ok && len(body)%8 != 0 {
			return errPacked
		}
	case packedVarint:
		if ok = wire == wireVarint || wire == wireLen; ok && wire == wireLen {
			return checkVarints(body)
		}
	}
	if !ok {
		return errWire
	}
	return nil
}

func idLength(k kind) int {
	if k == id8 {
		return 8
	}
	return 16
}

func checkVarints(b []byte) error {
	for i := 0; i < len(b); {
		var err error
		if _, i, err = uvarint(b, i); err != nil {
			return errPacked
		}
	}
	return nil
}

// wireField is the head of one field: where its value begins, without the
// length in front of it.
type wireField struct {
	num  uint64
	body int
	wire uint8
}

// nextField reads the field at b[i:]. Its value is b[w.body:end], always inside b.
func nextField(b []byte, i int) (w wireField, end int, err error) {
	tag, i, err := uvarint(b, i)
	if err != nil {
		return w, 0, err
	}
	if tag < 1<<3 || tag >= 1<<32 {
		return w, 0, errTag
	}
	w = wireField{num: tag >> 3, body: i, wire: uint8(tag & 7)}
	switch w.wire {
	case wireVarint:
		_, end, err = uvarint(b, i)
		return w, end, err
	case wire64:
		end = i + 8
	case wire32:
		end = i + 4
	case wireLen:
		n, start, err := uvarint(b, i)
		if err != nil || n > uint64(len(b)-start) { //nolint:gosec // start is at most len(b)
			return w, 0, errCut
		}
		w.body, end = start, start+int(n) //nolint:gosec // n is at most len(b)
	default:
		return w, 0, errWire
	}
	if end > len(b) {
		return w, 0, errCut
	}
	return w, end, nil
}

// uvarint reads the varint at b[i:] and returns the index behind it.
func uvarint(b []byte, i int) (v uint64, end int, err error) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1, nil
	}
	for shift := 0; shift < 64; shift += 7 {
		if i >= len(b) {
			return 0, 0, errCut
		}
		c := b[i]
		i++
		if shift == 63 && c > 1 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i, nil
		}
	}
	return 0, 0, errVarint
}
