package otlpcodec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

const (
	windowSize    = 512 << 10 // measured: larger windows cost heap and gain 1 %
	maxWindowSize = 8 << 20   // what a decoder of zstd must accept, and no more
)

// encoder encodes whole buffers only, for which it may be shared: it holds what
// two calls at a time need, about half a MiB each once it is used, where the
// garbage collector cannot take it away between two frames. A third call waits.
var encoder = func() *zstd.Encoder {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(windowSize),
		zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(true), zstd.WithZeroFrames(true))
	if err != nil {
		panic(err) // the options above are constants
	}
	enc.EncodeAll(nil, nil) // what it makes at the first call belongs to no test's bubble
	return enc
}()

// outputs keeps what one frame was compressed into for the next one.
var outputs = sync.Pool{New: func() any { return new([]byte) }}

// maxOutput bounds what is kept, in bytes.
const maxOutput = 1 << 20

// Compress writes raw to dst as exactly one zstd frame with a checksum and its
// size, in one call of Write. It fails only if dst does.
func Compress(dst io.Writer, raw []byte) error {
	buf := outputs.Get().(*[]byte)
	out := encoder.EncodeAll(raw, (*buf)[:0])
	if cap(out) <= maxOutput {
		*buf = out
	}
	_, err := dst.Write(out)
	outputs.Put(buf)
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return nil
}

// decoder decodes whole buffers only, for which it may be shared. The capacity
// of the output bounds what comes out: the option for the maximum memory does not.
var decoder = func() *zstd.Decoder {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(maxWindowSize),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err) // the options above are constants
	}
	return dec
}()

var errSize = errors.New("the frame does not hold as many bytes as it should")

// Decompress returns the rawSize bytes that stored holds. It allocates rawSize
// bytes before it looks at the data, so the caller bounds rawSize. It fails if
// the data holds a byte more or less, is damaged, or needs a window above 8 MiB.
func Decompress(stored frame.Body, rawSize int64) ([]byte, error) {
	if rawSize < 0 || stored.Len() == 0 {
		return nil, fmt.Errorf("decompress: %w", errSize)
	}
	in, ok := stored.(frame.Bytes)
	if !ok {
		var buf bytes.Buffer
		buf.Grow(int(stored.Len()))
		if _, err := stored.WriteTo(&buf); err != nil {
			return nil, fmt.Errorf("decompress: read frame: %w", err)
		}
		in = buf.Bytes()
	}
	return decodeAll(in, make([]byte, 0, rawSize), rawSize)
}

func decodeAll(in, out []byte, rawSize int64) ([]byte, error) {
	out, err := decoder.DecodeAll(in, out)
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if int64(len(out)) != rawSize {
		return nil, fmt.Errorf("decompress: %w: %d instead of %d", errSize, len(out), rawSize)
	}
	return out, nil
}
