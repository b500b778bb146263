package lifelinereceiver

import (
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

// step is what a reservation starts with, and grows by, when nobody says how
// large a body is.
const step = 64 << 10

// readAll reads r to its end, never more than limit bytes, into memory that held
// covers besides the bytes that are used already. hint is the size to expect.
func readAll(r io.Reader, held *reservation, used, hint, limit int64) ([]byte, error) {
	size := min(hint, limit)
	if err := held.need(used + size); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, size+1) // one byte more, to see the end
	for {
		if len(buf) == cap(buf) {
			size = min(2*size+step, limit)
			if err := held.need(used + size); err != nil {
				return nil, err
			}
			grown := make([]byte, len(buf), size+1)
			copy(grown, buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, errLarge
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// decompressor opens a compressed body that is in memory as a whole. That is why
// windows and tables need no reservation: no slow client can keep them, and no
// more bodies than processors are open at once.
type decompressor func(body []byte) (io.Reader, func(), error)

// decompressors are the values of Content-Encoding and grpc-encoding that the
// receiver knows. nil: the body is not compressed.
var decompressors = map[string]decompressor{
	"":                nil,
	"identity":        nil,
	"zstd":            openZstd,
	"gzip":            openGzip,
	"snappy":          openSnappy,
	"zlib":            openZlib,
	"deflate":         openZlib, // as every OTLP client means it
	"lz4":             openLZ4,
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

func openZstd(body []byte) (io.Reader, func(), error) {
	d := zstdReaders.Get().(*zstd.Decoder)
	if err := d.Reset(bytes.NewReader(body)); err != nil {
		return nil, nil, err
	}
	return d, func() {
		_ = d.Reset(nil)
		zstdReaders.Put(d)
	}, nil
}

func nothing() {}

func openGzip(body []byte) (io.Reader, func(), error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	return z, nothing, err
}

func openZlib(body []byte) (io.Reader, func(), error) {
	z, err := zlib.NewReader(bytes.NewReader(body))
	return z, nothing, err
}

func openLZ4(body []byte) (io.Reader, func(), error) {
	return lz4.NewReader(bytes.NewReader(body)), nothing, nil
}

func openSnappyFramed(body []byte) (io.Reader, func(), error) {
	return s2.NewReader(bytes.NewReader(body), s2.ReaderMaxBlockSize(step)), nothing, nil
}

// openSnappy takes the framed format, which gRPC means by this name and
// Collectors before v0.130 meant over HTTP as well. A block has no reader: it is
// for unsnap.
func openSnappy(body []byte) (io.Reader, func(), error) {
	if bytes.HasPrefix(body, []byte("\xff\x06\x00\x00sNaPpY")) {
		return openSnappyFramed(body)
	}
	return nil, nothing, nil
}

// unpack decompresses sent, which held covers. size is how much the client says
// will come out, -1 when it does not say.
func unpack(sent []byte, open decompressor, held *reservation, size, limit int64) ([]byte, error) {
	r, closeReader, err := open(sent)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEncoding, err)
	}
	defer closeReader()
	used := int64(cap(sent))
	if r == nil {
		return unsnap(sent, held, used, limit)
	}
	if size < 0 {
		size = step
	}
	raw, err := readAll(r, held, used, size, limit)
	if _, own := errors.AsType[*refusal](err); err != nil && !own {
		return nil, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return raw, err
}

// unsnap decodes a snappy block into memory that held covers.
func unsnap(block []byte, held *reservation, used, limit int64) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEncoding, err)
	}
	if int64(n) > limit {
		return nil, errLarge
	}
	if err := held.need(used + int64(n)); err != nil {
		return nil, err
	}
	raw, err := s2.Decode(nil, block)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return raw, nil
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
