package otlpsend

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// encode returns a reader of the body as it is sent. Anything but Zstd is made
// while it is read, with a fixed amount of memory.
func encode(loan *frame.Loan, c Compression) io.ReadCloser {
	switch c {
	case Gzip:
		return &recoder{src: loan.Reader(), gzip: true}
	case None:
		return &recoder{src: loan.Reader()}
	}
	return loan.Reader()
}

// encodedSize returns the length of what encode reads, -1 if that is not known
// before.
func encodedSize(loan *frame.Loan, rawSize int64, c Compression) int64 {
	switch {
	case c == Gzip, c == None && rawSize == 0:
		return -1
	case c == None:
		return rawSize
	}
	return loan.Len()
}

// The coders cost about a megabyte each, so they are kept between attempts.
// Neither has a goroutine.
var (
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			panic(err) // the options are constants
		}
		return d
	}}
	gzips = sync.Pool{New: func() any {
		w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
		if err != nil {
			panic(err) // the level is a constant
		}
		return w
	}}
)

var errClosed = errors.New("the body was closed")

// recoder decodes zstd while it is read and, if told so, compresses with gzip.
// net/http may close a body while another goroutine reads it.
type recoder struct {
	mu sync.Mutex // held for every read: it works on memory and never waits
	// mu guards the following.
	src    io.Reader // the stored bytes
	gzip   bool
	closed bool
	err    error // what comes after out
	raw    *zstd.Decoder
	packer *gzip.Writer
	out    bytes.Buffer // compressed, not read yet
	chunk  []byte
}

// chunkSize is how much is compressed in one step.
const chunkSize = 32 << 10

// Read implements io.Reader.
func (r *recoder) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return 0, errClosed
	}
	if r.raw == nil {
		r.begin()
	}
	if r.err != nil && r.out.Len() == 0 {
		return 0, r.err
	}
	if !r.gzip {
		n, err := r.raw.Read(p)
		r.err = err
		return n, err
	}
	for r.out.Len() == 0 && r.err == nil {
		r.step()
	}
	if r.out.Len() == 0 {
		return 0, r.err
	}
	return r.out.Read(p)
}

func (r *recoder) begin() {
	r.raw = decoders.Get().(*zstd.Decoder)
	r.err = r.raw.Reset(r.src)
	if r.gzip {
		r.packer = gzips.Get().(*gzip.Writer)
		r.packer.Reset(&r.out)
		r.chunk = make([]byte, chunkSize)
	}
}

// step compresses one chunk.
func (r *recoder) step() {
	n, err := r.raw.Read(r.chunk)
	_, _ = r.packer.Write(r.chunk[:n]) // to memory
	if err == nil {
		return
	}
	if errors.Is(err, io.EOF) {
		_ = r.packer.Close()
	}
	r.err = err
}

// Close implements io.Closer. It gives the coders back.
func (r *recoder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.raw == nil {
		r.closed = true
		return nil
	}
	r.closed = true
	_ = r.raw.Reset(nil) // forgets src
	decoders.Put(r.raw)
	if r.packer != nil {
		r.packer.Reset(nil)
		gzips.Put(r.packer)
	}
	return nil
}
