package otlpcodec

import (
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// maxDepth is how deep messages may nest. A map inside a map takes three
// messages, so real data stays far below; pdata, which has no limit of its own
// and would overflow the stack, needs less than a megabyte of it at this depth.
const maxDepth = 1000

var (
	errCut      = fmt.Errorf("%w: cut off, or a length that points beyond the end", ErrMalformed)
	errVarint   = fmt.Errorf("%w: a varint of more than ten bytes", ErrMalformed)
	errTag      = fmt.Errorf("%w: an impossible field number", ErrMalformed)
	errWire     = fmt.Errorf("%w: a field of the wrong wire type", ErrMalformed)
	errIDLength = fmt.Errorf("%w: a trace, span or profile id of the wrong length", ErrMalformed)
	errDepth    = fmt.Errorf("%w: nested deeper than %d messages", ErrMalformed, maxDepth)
	errPacked   = fmt.Errorf("%w: a packed field of the wrong length", ErrMalformed)
)

// Count walks over an encoded export request without decoding it and returns
// its number of items: spans, data points, log records or samples. It accepts
// what pdata decodes and refuses what pdata refuses; only messages that nest too
// deep it refuses alone. It allocates nothing unless it fails, and never panics.
// Every error has ErrMalformed or ErrDeprecated in its chain; ErrDeprecated means
// that all of the request was checked and nothing else is wrong with it.
func Count(s frame.Signal, raw []byte) (items int64, err error) {
	if int(s) >= len(requests) {
		return 0, fmt.Errorf("count: unknown signal %s", s)
	}
	var w walker
	items, err = w.walk(requests[s], raw, maxDepth)
	if err == nil && w.deprecated {
		err = ErrDeprecated
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s, err)
	}
	return items, nil
}

// walker walks over one request.
type walker struct {
	// deprecated says that field 1000 was met. That is no error before the end: who
	// gets ErrDeprecated hands the bytes to pdata, so all of them must be checked.
	deprecated bool
}

// walk checks one message and counts the items in it. Nearly all tags and lengths
// are one byte, so those are read in place.
func (w *walker) walk(m *message, b []byte, depth int) (items int64, err error) {
	if depth == 0 {
		return 0, errDepth
	}
	var chosen int64 // items of the oneof: a later field of it replaces the earlier one
	for i := 0; i < len(b); {
		tag := uint64(b[i])
		if i++; tag >= 0x80 {
			if tag, i, err = uvarint(b, i-1); err != nil {
				return 0, err
			}
		}
		f := w.field(m, tag)
		if f.kind.wires()>>(tag&7)&1 == 0 {
			return 0, wrongField(tag)
		}
		if tag&7 != wireLen {
			if i, err = skip(b, i, tag&7); err != nil {
				return 0, err
			}
			continue
		}
		var n uint64
		if i < len(b) && b[i] < 0x80 {
			n, i = uint64(b[i]), i+1
		} else if n, i, err = uvarint(b, i); err != nil {
			return 0, err
		}
		if n > uint64(len(b)-i) { //nolint:gosec // i is at most len(b)
			return 0, errCut
		}
		body := b[i : i+int(n)] //nolint:gosec // n is at most len(b)
		i += int(n)             //nolint:gosec // n is at most len(b)
		if f.kind == text {
			continue
		}
		if f.kind != nested {
			if err := f.kind.check(body); err != nil {
				return 0, err
			}
			continue
		}
		count, err := w.walk(f.msg, body, depth-1)
		if err != nil {
			return 0, err
		}
		switch f.role {
		case item:
			count = 1
		case oneof:
			count, chosen = count-chosen, count
		}
		items += count
	}
	return items, nil
}

// field returns what m says about a tag.
func (w *walker) field(m *message, tag uint64) *field {
	if num := tag >> 3; num < uint64(len(m.fields)) {
		return &m.fields[num]
	}
	return w.highField(m, tag)
}

var anyField, noField = field{kind: unknown}, field{kind: impossible}

// highField is field for the numbers that real data does not have. Like pdata it
// looks at 32 bits of the number.
func (w *walker) highField(m *message, tag uint64) *field {
	num := int32(tag >> 3) //nolint:gosec // meant to wrap around
	switch {
	case num <= 0:
		return &noField
	case int(num) < len(m.fields):
		return &m.fields[num]
	case num == movedField && m.moved != nil:
		w.deprecated = true
		return m.moved
	}
	return &anyField
}

// wrongField tells why a tag was refused.
func wrongField(tag uint64) error {
	if int32(tag>>3) <= 0 { //nolint:gosec // as in highField
		return errTag
	}
	return errWire
}

// kindWires are the wire types that a kind of field may have, as bits. Groups
// were never part of OTLP, but may stand in a field that nobody knows.
var kindWires = [...]uint8{
	unknown:      1<<wireVarint | 1<<wire64 | 1<<wireLen | 1<<wireGroup | 1<<wire32,
	impossible:   0,
	varint:       1 << wireVarint,
	fixed64:      1 << wire64,
	fixed32:      1 << wire32,
	text:         1 << wireLen,
	id8:          1 << wireLen,
	id16:         1 << wireLen,
	packedVarint: 1<<wireVarint | 1<<wireLen,
	packed64:     1<<wire64 | 1<<wireLen,
	nested:       1 << wireLen,
}

func (k kind) wires() uint8 { return kindWires[k] }

// check holds the bytes of one value that is not a message against its kind.
func (k kind) check(body []byte) error {
	switch k {
	case id8:
		if len(body) != 0 && len(body) != 8 {
			return errIDLength
		}
	case id16:
		if len(body) != 0 && len(body) != 16 {
			return errIDLength
		}
	case packed64:
		if len(body)%8 != 0 {
			return errPacked
		}
	case packedVarint:
		for i := 0; i < len(body); {
			var err error
			if _, i, err = uvarint(body, i); err != nil {
				return errPacked
			}
		}
	}
	return nil
}
