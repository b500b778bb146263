package otlpcodec

// The wire types of protobuf.
const (
	wireVarint   = 0
	wire64       = 1
	wireLen      = 2
	wireGroup    = 3
	wireGroupEnd = 4
	wire32       = 5
)

// wireField is the head of one field: where its value begins, without the
// length in front of it.
type wireField struct {
	num   int32
	body  int
	group bool
}

// nextField reads the field at b[i:]. Its value is b[w.body:end], always inside b.
func nextField(b []byte, i int) (w wireField, end int, err error) {
	tag, i, err := uvarint(b, i)
	if err != nil {
		return w, 0, err
	}
	w = wireField{num: int32(tag >> 3), body: i, group: tag&7 == wireGroup} //nolint:gosec // meant to wrap around, as in highField
	if w.num <= 0 {
		return w, 0, errTag
	}
	if tag&7 == wireLen {
		n, body, err := uvarint(b, i)
		if err == nil && n > uint64(len(b)-body) { //nolint:gosec // body is at most len(b)
			err = errCut
		}
		w.body = body
		return w, body + int(n), err //nolint:gosec // n is at most len(b), or nobody looks
	}
	end, err = skip(b, i, tag&7)
	return w, end, err
}

// skip returns the index behind the value at b[i:], which may be one that nobody
// knows. A group ends behind the first value in it, and its end is no field: that
// is how pdata reads it.
func skip(b []byte, i int, wire uint64) (end int, err error) {
	for depth := 0; i < len(b); {
		switch wire {
		case wireVarint:
			_, end, err = uvarint(b, i)
			return end, err
		case wire64:
			end = i + 8
		case wire32:
			end = i + 4
		case wireLen:
			n, start, err := uvarint(b, i)
			if err != nil || n > uint64(len(b)-start) { //nolint:gosec // start is at most len(b)
				return 0, errCut
			}
			return start + int(n), nil //nolint:gosec // n is at most len(b)
		case wireGroup:
			depth++
		case wireGroupEnd:
			depth--
		default:
			return 0, errWire
		}
		switch {
		case end > len(b):
			return 0, errCut
		case end > 0:
			return end, nil
		case depth <= 0:
			if depth < 0 {
				return 0, errWire
			}
			return i, nil
		}
		var tag uint64
		if tag, i, err = uvarint(b, i); err != nil {
			return 0, err
		}
		if int32(tag>>3) <= 0 { //nolint:gosec // as in highField
			return 0, errTag
		}
		wire = tag & 7
	}
	return 0, errCut
}

// uvarint reads the varint at b[i:] and returns the index behind it. Of the tenth
// byte only the lowest bit counts.
func uvarint(b []byte, i int) (v uint64, end int, err error) {
	for shift := 0; shift < 64; shift += 7 {
		if i >= len(b) {
			return 0, 0, errCut
		}
		c := b[i]
		i++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v, i, nil
		}
	}
	return 0, 0, errVarint
}
