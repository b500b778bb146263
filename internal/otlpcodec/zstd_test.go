package otlpcodec_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

func compress(tb testing.TB, raw []byte) []byte {
	tb.Helper()
	var buf bytes.Buffer
	require.NoError(tb, otlpcodec.Compress(&buf, raw))
	return buf.Bytes()
}

func TestCompressRoundTrip(t *testing.T) {
	noise := make([]byte, 300_000)
	_, _ = rand.Read(noise)
	for name, raw := range map[string][]byte{
		"nothing":  {},
		"one byte": {7},
		"small":    sample(t, frame.Logs, 1),
		"large":    sample(t, frame.Traces, 20_000),
		"noise":    noise,
		"zeros":    make([]byte, 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			stored := compress(t, raw)
			var head zstd.Header
			require.NoError(t, head.Decode(stored))
			require.Equal(t, len(raw) > 0, head.HasCheckSum)
			require.LessOrEqual(t, head.WindowSize, uint64(512<<10))
			got, err := otlpcodec.Decompress(frame.Bytes(stored), int64(len(raw)))
			require.NoError(t, err)
			require.True(t, bytes.Equal(raw, got))
		})
	}
}

// paged is a body in pieces, as the ring has it.
type paged []byte

func (p paged) Len() int64 { return int64(len(p)) }
func (p paged) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, io.MultiReader(bytes.NewReader(p[:len(p)/2]), bytes.NewReader(p[len(p)/2:])))
}

func TestDecompressPages(t *testing.T) {
	raw := sample(t, frame.Traces, 100)
	got, err := otlpcodec.Decompress(paged(compress(t, raw)), int64(len(raw)))
	require.NoError(t, err)
	require.Equal(t, raw, got)
}

type brokenBody struct{ paged }

var errBody = errors.New("page gone")

func (brokenBody) WriteTo(io.Writer) (int64, error) { return 0, errBody }

func TestDecompressRefuses(t *testing.T) {
	raw := sample(t, frame.Traces, 100)
	stored := compress(t, raw)
	flipped := bytes.Clone(stored)
	flipped[len(flipped)-1] ^= 1 // the checksum
	bomb := compress(t, make([]byte, 64<<20))
	hugeWindow := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x98, 0x01, 0x00, 0x00, 0x00} // declares 2^29
	size := int64(len(raw))
	for name, c := range map[string]struct {
		stored []byte
		size   int64
	}{
		"one byte less":    {stored, size - 1},
		"one byte more":    {stored, size + 1},
		"negative size":    {stored, -1},
		"nothing stored":   {nil, 0},
		"truncated":        {stored[:len(stored)-5], size},
		"checksum":         {flipped, size},
		"trailing garbage": {append(bytes.Clone(stored), 1, 2, 3, 4, 5), size},
		"two frames":       {append(bytes.Clone(stored), stored...), size},
		"bomb":             {bomb, size},
		"huge window":      {hugeWindow, size},
		"not zstd":         {[]byte("plain text"), size},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := otlpcodec.Decompress(frame.Bytes(c.stored), c.size)
			require.Error(t, err)
		})
	}
	_, err := otlpcodec.Decompress(brokenBody{paged(stored)}, size)
	require.ErrorIs(t, err, errBody)
}

type fullDisk struct{ left int }

var errFull = errors.New("ring full")

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestCompressFailsWithItsWriter(t *testing.T) {
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise)
	for _, left := range []int{0, 1 << 20} {
		require.ErrorIs(t, otlpcodec.Compress(&fullDisk{left: left}, noise), errFull)
	}
	raw := sample(t, frame.Logs, 10)
	got, err := otlpcodec.Decompress(frame.Bytes(compress(t, raw)), int64(len(raw)))
	require.NoError(t, err, "a failed encoder must not spoil the next frame")
	require.Equal(t, raw, got)
}

func TestCompressInAndOutOfABubble(t *testing.T) {
	raw := sample(t, frame.Logs, 10)
	use := func(t *testing.T) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				got, err := otlpcodec.Decompress(frame.Bytes(compress(t, raw)), int64(len(raw)))
				if err != nil || !bytes.Equal(raw, got) {
					t.Error("round trip failed", err)
				}
			})
		}
		wg.Wait()
	}
	synctest.Test(t, use)
	use(t)
	synctest.Test(t, use)
}

func TestFromJSON(t *testing.T) {
	raw, err := otlpcodec.FromJSON(frame.Logs, []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}`))
	require.NoError(t, err)
	items, err := otlpcodec.Count(frame.Logs, raw)
	require.NoError(t, err)
	require.EqualValues(t, 1, items)
	for _, s := range signals {
		_, err = otlpcodec.FromJSON(s, []byte(`{"resource`))
		require.ErrorIs(t, err, otlpcodec.ErrMalformed)
	}
}

func BenchmarkCompress(b *testing.B) {
	raw := sample(b, frame.Traces, 1000)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, otlpcodec.Compress(io.Discard, raw))
	}
}
