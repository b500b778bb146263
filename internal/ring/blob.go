package ring

import "github.com/otel-lifeline/lifeline/internal/frame"

// blobPages counts the pages of all blobs.
type blobPages struct{ reserved, written int64 }

// Blob is the bytes of one sealed flare, in pages of the ring. Its owner writes
// it, calls Close once, then reads it, and calls Free once.
type Blob struct {
	ring     *Ring
	body     extent
	loan     *frame.Loan // of body, to whoever puts it into a bucket
	reserved int64       // pages
}

// NewBlob reserves room for at most bound bytes. It returns nil when they do
// not fit beside the frames and other blobs.
func (r *Ring) NewBlob(bound int64) *Blob {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := pagesFor(bound)
	if r.space.frames()+r.space.blobs.reserved+n > r.cfg.Capacity/PageSize {
		return nil
	}
	r.space.blobs.reserved += n
	return &Blob{ring: r, reserved: n, loan: frame.Lend(frame.Bytes(nil))}
}

// Write implements io.Writer. It fails beyond the bound.
func (b *Blob) Write(p []byte) (int, error) {
	more := pagesFor(b.body.size+int64(len(p))) - int64(len(b.body.pages))
	if more > 0 {
		if int64(len(b.body.pages))+more > b.reserved {
			return 0, errNoPage
		}
		b.ring.mu.Lock()
		b.body.pages = b.ring.space.pool.take(b.body.pages, more)
		b.ring.space.blobs.written += more
		b.ring.mu.Unlock()
	}
	return len(p), b.body.append(p)
}

// Close gives back what was reserved and not written.
func (b *Blob) Close() {
	b.loan = frame.Lend(&b.body)
	b.ring.mu.Lock()
	defer b.ring.mu.Unlock()
	written := int64(len(b.body.pages))
	b.ring.space.blobs.reserved -= b.reserved - written
	b.reserved = written
}

// Body returns what was written before Close. A client that reads it after Free
// gets frame.ErrLoanEnded.
func (b *Blob) Body() frame.Body { return b.loan }

// Free gives the pages back.
func (b *Blob) Free() {
	b.loan.End()
	r := b.ring
	r.mu.Lock()
	defer r.mu.Unlock()
	r.space.blobs.reserved -= b.reserved
	r.space.blobs.written -= int64(len(b.body.pages))
	r.space.pool.give(b.body.pages)
	b.body.pages = nil
}
