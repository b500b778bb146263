package frame

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Loan lends a Body to a client that may go on reading after its call has
// returned, as net/http does. Once the loan has ended such a late read fails,
// instead of touching memory that belongs to somebody else by then. All methods
// may be called concurrently.
type Loan struct {
	src  io.ReaderAt
	size int64

	mu sync.RWMutex // held for every read: a copy of bytes, it never waits
	// ended says that src must not be read any more.
	ended bool
}

// ErrLoanEnded is what a reader gets that reads too late.
var ErrLoanEnded = errors.New("the body was lent for one call, and that has ended")

// Lend begins a loan. A Body that is an io.ReaderAt, or Bytes, is read in place;
// any other is copied.
func Lend(b Body) *Loan {
	switch src := b.(type) {
	case io.ReaderAt:
		return &Loan{src: src, size: b.Len()}
	case Bytes:
		return &Loan{src: bytes.NewReader(src), size: b.Len()}
	}
	var buf bytes.Buffer
	buf.Grow(int(b.Len()))
	_, _ = b.WriteTo(&buf) // a Body is memory, a bytes.Buffer takes everything
	return &Loan{src: bytes.NewReader(buf.Bytes()), size: int64(buf.Len())}
}

// Len implements Body.
func (l *Loan) Len() int64 { return l.size }

// WriteTo implements Body. It does not keep End waiting for w.
func (l *Loan) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, l.Reader()) }

// ReadAt implements io.ReaderAt.
func (l *Loan) ReadAt(p []byte, off int64) (int, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.ended {
		return 0, ErrLoanEnded
	}
	return l.src.ReadAt(p, off)
}

// Reader returns a new reader from the first byte. Closing it does nothing.
func (l *Loan) Reader() io.ReadCloser {
	return loanReader{io.NewSectionReader(l, 0, l.size)}
}

// End makes every read that begins from now on fail, and waits for those that
// have begun.
func (l *Loan) End() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

// loanReader hides what else a section can do: an io.WriterTo would be asked to
// write to a network.
type loanReader struct{ section *io.SectionReader }

// Read implements io.Reader.
func (r loanReader) Read(p []byte) (int, error) { return r.section.Read(p) }

// Close implements io.Closer.
func (loanReader) Close() error { return nil }
