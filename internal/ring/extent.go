package ring

import (
	"errors"
	"io"
)

// sealedBound returns the most bytes that n raw bytes can have once sealed:
// zstd stores what it cannot compress with 3 bytes per block and a small frame.
func sealedBound(n int64) int64 { return n + n>>12 + 64 }

// extent is bytes in pages. The bytes before size do not change while refs > 0.
type extent struct {
	pages []page
	side  int64 // pages that count for what lives beside: client metadata
	size  int64
	refs  int // the ring's own reference and one per reader; guarded by the ring's lock
}

// cost returns the pages that e counts as.
func (e *extent) cost() int64 { return int64(len(e.pages)) + e.side }

// Len implements frame.Body.
func (e *extent) Len() int64 { return e.size }

// WriteTo implements frame.Body. The caller holds a reference.
func (e *extent) WriteTo(w io.Writer) (int64, error) {
	var done int64
	for _, p := range e.pages {
		if done == e.size {
			break
		}
		n, err := w.Write(p.bytes()[:min(PageSize, e.size-done)])
		done += int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// ReadAt implements io.ReaderAt, so that a sender needs no copy of its own. The
// caller holds a reference.
func (e *extent) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("ring: internal error: read at a negative offset")
	}
	var done int
	for done < len(b) && off < e.size {
		p := e.pages[off/PageSize].bytes()
		n := copy(b[done:], p[off%PageSize:min(PageSize, e.size-off/PageSize*PageSize)])
		done += n
		off += int64(n)
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}

var errNoPage = errors.New("ring: internal error: more bytes than the bound that was set aside for them")

// append copies b behind the bytes of e. The pages must be there.
func (e *extent) append(b []byte) error {
	if e.size+int64(len(b)) > int64(len(e.pages))*PageSize {
		return errNoPage
	}
	for len(b) > 0 {
		n := copy(e.pages[e.size/PageSize].bytes()[e.size%PageSize:], b)
		e.size += int64(n)
		b = b[n:]
	}
	return nil
}

// writer is an extent as an io.Writer.
type writer struct{ e *extent }

func (w writer) Write(b []byte) (int, error) {
	if err := w.e.append(b); err != nil {
		return 0, err
	}
	return len(b), nil
}
