package lifelinereceiver

import (
	"errors"
	"io"
	"net"
	"net/http"
)

// step is what a reservation starts with, and grows by, when nobody says how
// large a body is.
const step = 64 << 10

// firstPart of a body must be there before its buffer is made whole: a client
// that says much and sends nothing costs no more than a place.
const firstPart = 1<<20 - 1

// readAll reads r to its end, never more than limit bytes, into a buffer that
// held covers besides the bytes that are used already. hint is the size to
// expect. The caller frees the buffer, or leaves it to the garbage collector.
func readAll(r io.Reader, held *reservation, used, hint, limit int64) ([]byte, error) {
	size := min(hint, limit)
	if err := held.need(used + size); err != nil {
		return nil, err
	}
	buf := newBuffer(min(size, firstPart) + 1) // one byte more, to see the end
	for {
		if int64(len(buf)) > size {
			size = min(2*size+step, limit)
			if err := held.need(used + size); err != nil {
				freeBuffer(buf)
				return nil, err
			}
		}
		if len(buf) == cap(buf) {
			grown := append(newBuffer(size+1), buf...)
			freeBuffer(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):min(size+1, int64(cap(buf)))])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			err = errLarge
		case errors.Is(err, io.EOF):
			return buf, nil
		}
		if err != nil {
			freeBuffer(buf)
			return nil, err
		}
	}
}

// readBody reads the body of an HTTP request as it was sent. length is -1 when
// the client does not say it.
func readBody(body io.Reader, held *reservation, length, limit int64) ([]byte, error) {
	if length < 0 {
		length = step
	}
	raw, err := readAll(body, held, 0, length, limit)
	if err == nil {
		return raw, nil
	}
	if own, ok := errors.AsType[*refusal](err); ok {
		return nil, own
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errLarge
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return nil, errSlow
	}
	return nil, errCut
}
