package lifelinereceiver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// errEncoding says that a body is not what its Content-Encoding says.
var errEncoding = fmt.Errorf("%w: the body does not decompress", otlpcodec.ErrMalformed)

// decompressor opens a compressed body that is in memory as a whole. That is why
// windows and tables need no reservation: no slow client can keep them, and no
// more bodies than processors are open at once. It returns nil for a format that
// has no reader.
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

// input is a compressed body that a reader of a pool reads from.
type input struct{ bytes.Reader }

// Decoders between requests, with the body they read last already taken away.
// The window of zstd is bounded: ten bytes can ask for half a gigabyte.
var (
	zstdReaders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecodeBuffersBelow(0))
		if err != nil {
			panic(err) // the options above are constants
		}
		return d
	}}
	gzipReaders   = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers    = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	snappyReaders = sync.Pool{New: func() any { return s2.NewReader(nil, s2.ReaderMaxBlockSize(step)) }}
	inputs        = sync.Pool{New: func() any { return new(input) }}
)

func newInput(body []byte) *input {
	in := inputs.Get().(*input)
	in.Reset(body)
	return in
}

func (in *input) free() {
	in.Reset(nil)
	inputs.Put(in)
}

func openZstd(body []byte) (io.Reader, func(), error) {
	d, in := zstdReaders.Get().(*zstd.Decoder), newInput(body)
	if err := d.Reset(in); err != nil {
		return nil, nil, err
	}
	return d, func() {
		_ = d.Reset(nil)
		zstdReaders.Put(d)
		in.free()
	}, nil
}

func openGzip(body []byte) (io.Reader, func(), error) {
	z, in := gzipReaders.Get().(*gzip.Reader), newInput(body)
	if err := z.Reset(in); err != nil {
		return nil, nil, err
	}
	return z, func() {
		gzipReaders.Put(z)
		in.free()
	}, nil
}

func nothing() {}

// openZlib is for the few clients that deflate: its reader is not worth keeping.
func openZlib(body []byte) (io.Reader, func(), error) {
	z, err := zlib.NewReader(bytes.NewReader(body))
	return z, nothing, err
}

func openLZ4(body []byte) (io.Reader, func(), error) {
	z, in := lz4Readers.Get().(*lz4.Reader), newInput(body)
	z.Reset(in)
	return z, func() {
		z.Reset(nil)
		lz4Readers.Put(z)
		in.free()
	}, nil
}

func openSnappyFramed(body []byte) (io.Reader, func(), error) {
	z, in := snappyReaders.Get().(*s2.Reader), newInput(body)
	z.Reset(in)
	return z, func() {
		z.Reset(nil)
		snappyReaders.Put(z)
		in.free()
	}, nil
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

// unpack decompresses sent, which held covers, into a buffer of its own. size is
// how much the client says will come out, -1 when it does not say.
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
		size = expected(sent)
	}
	raw, err := readAll(r, held, used, size, limit)
	if _, own := errors.AsType[*refusal](err); err != nil && !own {
		return nil, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return raw, err
}

// expected guesses how much comes out of a body. It believes what the body says
// of itself only as far as telemetry compresses: a lie must not cost memory.
func expected(sent []byte) int64 {
	const ratio = 16
	most := max(step, ratio*int64(len(sent)))
	var zstdHeader zstd.Header
	switch {
	case len(sent) > 18 && sent[0] == 0x1f && sent[1] == 0x8b: // gzip ends with its size
		return min(most, int64(binary.LittleEndian.Uint32(sent[len(sent)-4:])))
	case zstdHeader.Decode(sent) == nil && zstdHeader.HasFCS:
		return min(most, int64(min(zstdHeader.FrameContentSize, 1<<40)))
	}
	return max(step, 6*int64(len(sent)))
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
	buf := newBuffer(int64(n))
	raw, err := s2.Decode(buf[:n], block)
	if err != nil {
		freeBuffer(buf)
		return nil, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return raw, nil
}
