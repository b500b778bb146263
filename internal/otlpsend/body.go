package otlpsend

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// body hands out readers over one frame.Body and can cut them all off. net/http
// may read a request's body after Do has returned; once cut, such a late read
// fails instead of touching memory that belongs to somebody else by then.
type body struct {
	src  io.ReaderAt
	size int64

	mu sync.Mutex // held for every read: a copy of bytes, it never waits
	// isCut says that src must not be read any more.
	isCut bool
}

// newBody reads b in place if it can be read at an offset, and copies it if not.
func newBody(b frame.Body) *body {
	if src, ok := b.(io.ReaderAt); ok {
		return &body{src: src, size: b.Len()}
	}
	if raw, ok := b.(frame.Bytes); ok {
		return &body{src: bytes.NewReader(raw), size: b.Len()}
	}
	var buf bytes.Buffer
	buf.Grow(int(b.Len()))
	_, _ = b.WriteTo(&buf) // a Body is memory, a bytes.Buffer takes everything
	return &body{src: bytes.NewReader(buf.Bytes()), size: int64(buf.Len())}
}

// reader returns a new reader from the first byte.
func (b *body) reader() io.ReadCloser {
	return &bodyReader{body: b, section: io.NewSectionReader(b.src, 0, b.size)}
}

// cut makes every read that begins from now on fail, and waits for those that
// have begun.
func (b *body) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isCut = true
}

var errCut = errors.New("the attempt to send this frame has ended")

type bodyReader struct {
	body    *body
	section *io.SectionReader
}

// Read implements io.Reader.
func (r *bodyReader) Read(p []byte) (int, error) {
	r.body.mu.Lock()
	defer r.body.mu.Unlock()
	if r.body.isCut {
		return 0, errCut
	}
	return r.section.Read(p)
}

// Close implements io.Closer. The memory is given back by cut alone.
func (*bodyReader) Close() error { return nil }
