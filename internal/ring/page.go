package ring

import (
	"errors"
	"io"
)

// PageSize is the unit in which the ring takes and counts memory, in bytes.
const PageSize = 4096

// maxFree bounds the pages that are kept for reuse; the others go back to the
// heap. 256 pages are 1 MiB.
const maxFree = 256

type page [PageSize]byte

// pages hands out pages and takes them back. It is the only place that knows
// where pages come from. The ring's lock guards it.
type pages struct {
	free []*page
	out  int64 // pages handed out and not yet given back
}

func (p *pages) take(n int64) []*page {
	got := make([]*page, n)
	reused := min(int(n), len(p.free))
	rest := len(p.free) - reused
	copy(got, p.free[rest:])
	clear(p.free[rest:])
	p.free = p.free[:rest]
	for i := reused; i < len(got); i++ {
		got[i] = new(page)
	}
	p.out += n
	return got
}

func (p *pages) give(back []*page) {
	p.out -= int64(len(back))
	if p.out == 0 { // idle: keep nothing
		p.free = nil
		return
	}
	p.free = append(p.free, back[:min(len(back), maxFree-len(p.free))]...)
}

// forget counts n pages as given back that are not used again.
func (p *pages) forget(n int64) {
	p.out -= n
	if p.out == 0 {
		p.free = nil
	}
}

// pagesFor returns the number of pages that hold n bytes.
func pagesFor(n int64) int64 { return (n + PageSize - 1) / PageSize }

// sealedBound returns the most bytes that n raw bytes can have once sealed:
// zstd stores what it cannot compress with 3 bytes per block and a small frame.
func sealedBound(n int64) int64 { return n + n>>12 + 64 }

// extent is bytes in pages. The bytes before size do not change while refs > 0.
type extent struct {
	pages []*page
	size  int64
	refs  int // the ring's own reference and one per reader; guarded by the ring's lock
}

// Len implements frame.Body.
func (e *extent) Len() int64 { return e.size }

// WriteTo implements frame.Body. The caller holds a reference.
func (e *extent) WriteTo(w io.Writer) (int64, error) {
	var done int64
	for _, p := range e.pages {
		if done == e.size {
			break
		}
		n, err := w.Write(p[:min(PageSize, e.size-done)])
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
		p := e.pages[off/PageSize]
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
		n := copy(e.pages[e.size/PageSize][e.size%PageSize:], b)
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
