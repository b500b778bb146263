package lifelinereceiver

import (
	"maps"
	"slices"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Whatever a body is, what comes out of it is bounded and reserved, and the next
// body is read as if nothing had been.
func FuzzUnpack(f *testing.F) {
	const limit = 1 << 20
	names := slices.Sorted(maps.Keys(decompressors))
	good := encoded(f, frame.Traces, 20)
	named := func(name string) uint8 { return uint8(slices.Index(names, name)) } //nolint:gosec // a few names
	f.Add(named("snappy"), s2.EncodeSnappy(nil, good))
	f.Add(named("gzip"), []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Add(named("zstd"), []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x98, 1, 0, 0, 0})
	f.Add(named("lz4"), []byte{0x04, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		open := decompressors[names[int(which)%len(names)]]
		if open == nil {
			return
		}
		held := room(t, 16*limit, 16*limit)
		raw, err := unpack(body, open, held, -1, limit)
		if err == nil {
			require.LessOrEqual(t, len(raw), limit)
			require.GreaterOrEqual(t, held.bytes+1, int64(len(raw)))
			freeBuffer(raw)
		}
		again, err := unpack(zstdBytes(t, good), openZstd, room(t, 16*limit, 16*limit), -1, limit)
		require.NoError(t, err)
		require.Equal(t, good, again)
		freeBuffer(again)
	})
}
