package lifelinereceiver

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// errEncoding says that a body is not what its Content-Encoding says.
var errEncoding = fmt.Errorf("%w: the body does not decompress", otlpcodec.ErrMalformed)

// step is by how much a reservation grows while a body turns out larger than declared.
const step = 64 << 10

// readAll reads r to its end into memory that held covers, never more than max bytes.
func readAll(r io.Reader, held *reservation, max int64) ([]byte, error) {
	buf := make([]byte, 0, min(held.held, max+1))
	for {
		if len(buf) == cap(buf) {
			want := min(int64(cap(buf))*2+step, max+1)
			if want > held.held && !held.resize(want) {
				return nil, errBusy
			}
			grown := make([]byte, len(buf), want)
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > max {
			return nil, tooLarge("the request is")
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// wire remembers the error of the connection, so that it is not taken for an
// error of the data: a client whose body was cut off must try again.
type wire struct {
	r   io.Reader
	err error
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// decompressor opens a compressed stream. max bounds formats that must be read whole.
type decompressor func(r io.Reader, max int64) (io.Reader, func(), error)

// decompressors are the values of Content-Encoding that the receiver knows.
var decompressors = map[string]decompressor{
	"":                func(r io.Reader, _ int64) (io.Reader, func(), error) { return r, func() {}, nil },
	"identity":        func(r io.Reader, _ int64) (io.Reader, func(), error) { return r, func() {}, nil },
	"zstd":            openZstd,
	"gzip":            openGzip,
	"snappy":          openSnappy,
	"zlib":            openZlib,
	"deflate":         openZlib, // as every OTLP client means it
	"lz4":             func(r io.Reader, _ int64) (io.Reader, func(), error) { return lz4.NewReader(r), func() {}, nil },
	"x-snappy-framed": openSnappyFramed,
}

// zstdReaders are decoders between requests. Their window is bounded: ten bytes
// can ask for half a gigabyte.
var zstdReaders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		panic(err) // the options above are constants
	}
	return d
}}

func openZstd(r io.Reader, _ int64) (io.Reader, func(), error) {
	d := zstdReaders.Get().(*zstd.Decoder)
	if err := d.Reset(r); err != nil {
		return nil, nil, err
	}
	return d, func() {
		_ = d.Reset(nil)
		zstdReaders.Put(d)
	}, nil
}

func openGzip(r io.Reader, _ int64) (io.Reader, func(), error) {
	z, err := gzip.NewReader(r)
	return z, func() {}, err
}

func openZlib(r io.Reader, _ int64) (io.Reader, func(), error) {
	z, err := zlib.NewReader(r)
	return z, func() {}, err
}

func openSnappyFramed(r io.Reader, _ int64) (io.Reader, func(), error) {
	return s2.NewReader(r, s2.ReaderMaxBlockSize(step)), func() {}, nil
}

// openSnappy takes the block format, and the framed one that Collectors before
// v0.130 sent under the same name.
func openSnappy(r io.Reader, max int64) (io.Reader, func(), error) {
	const magic = "\xff\x06\x00\x00sNaPpY"
	br := bufio.NewReader(r)
	if head, _ := br.Peek(len(magic)); string(head) == magic {
		return openSnappyFramed(br, max)
	}
	block, err := io.ReadAll(io.LimitReader(br, max+1))
	if err != nil {
		return nil, nil, err
	}
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, nil, err
	}
	if int64(n) > max || int64(len(block)) > max {
		return nil, nil, tooLarge("the request is")
	}
	out, err := s2.Decode(nil, block)
	return bytes.NewReader(out), func() {}, err
}

// readBody reads and decompresses the body of an HTTP request.
func readBody(req *http.Request, open decompressor, held *reservation, max int64) ([]byte, error) {
	w := &wire{r: req.Body}
	raw, err := decompress(w, open, held, max)
	if err == nil {
		return raw, nil
	}
	if own, ok := errors.AsType[*refusal](err); ok {
		return nil, own
	}
	if _, ok := errors.AsType[*http.MaxBytesError](w.err); ok {
		return nil, tooLarge("the request is")
	}
	if timeout, ok := errors.AsType[net.Error](w.err); ok && timeout.Timeout() {
		return nil, errSlow
	}
	if w.err != nil {
		return nil, unavailable("the request did not arrive whole")
	}
	return nil, fmt.Errorf("%w: %w", errEncoding, err)
}

func decompress(w io.Reader, open decompressor, held *reservation, max int64) ([]byte, error) {
	r, closeReader, err := open(w, max)
	if err != nil {
		return nil, err
	}
	defer closeReader()
	return readAll(r, held, max)
}
