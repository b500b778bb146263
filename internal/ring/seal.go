package ring

import (
	"bytes"
	"io"
	"sync"
)

// Seal compresses a frame that was taken for it. The lock is not held while
// compress runs. A frame that cannot be compressed is lost as corrupt. It reports
// whether the frame is in the ring afterwards.
func (r *Ring) Seal(f *Frame, compress func(dst io.Writer, raw []byte) error) bool {
	err := seal(f, compress)

	r.mu.Lock()
	defer r.mu.Unlock()
	if f.try.leased {
		r.sends.raw--
	}
	used, list := pagesFor(f.body.size), f.body.pages
	r.space.pool.give(list[used:])
	f.body.pages = append([]page(nil), list[:used]...)
	clear(list)
	r.space.list = list[:0]
	switch {
	case err != nil:
		r.lose(f, "corrupt")
		return false
	case r.ended != "":
		r.lose(f, r.ended)
		return false
	}
	if f.try.leased {
		r.move(f, sending)
	} else {
		r.move(f, held)
	}
	return true
}

// SealLeased is Seal for a frame that may have been leased before it was sealed.
func (r *Ring) SealLeased(f *Frame, compress func(dst io.Writer, raw []byte) error) {
	r.mu.Lock()
	raw := f.state == sealing
	r.mu.Unlock()
	if raw {
		r.Seal(f, compress)
	}
}

// rawBuffers holds what one frame's raw bytes were copied into, for the next one.
var rawBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxRawBuffer bounds what is kept for the next frame, in bytes.
const maxRawBuffer = 1 << 20

// seal compresses the body of f in place. Nobody else reads or writes it
// meanwhile: its own pages, which were counted for the worst case, take what is
// stored.
func seal(f *Frame, compress func(dst io.Writer, raw []byte) error) error {
	buf := rawBuffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= maxRawBuffer {
			rawBuffers.Put(buf)
		}
	}()
	buf.Reset()
	buf.Grow(int(f.span.raw))
	_, _ = f.body.WriteTo(buf) // a bytes.Buffer takes everything
	f.body.size = 0
	return compress(writer{&f.body}, buf.Bytes())
}
