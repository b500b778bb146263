package flare

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// BenchmarkRefuseForgery opens a 4 MiB flare for the right recipients by a
// stranger: what an attacker with the write credential can make us do. No OTLP is
// parsed, for this package knows none.
func BenchmarkRefuseForgery(b *testing.B) {
	for _, keys := range []string{"recipients.txt", "recipients_classic.txt"} {
		b.Run(keys, func(b *testing.B) {
			s := &Sealer{Recipients: recipients(b, keys), Signer: freshSigner(b)}
			frames := testFrames()[:1]
			frames[0].Stored = frame.Bytes(make([]byte, 4<<20))
			data := sealed(b, s, testManifest(), frames)
			benchmarkRefusal(b, data)
		})
	}
	b.Run("no flare inside", func(b *testing.B) {
		benchmarkRefusal(b, ageSeal(b, nil, bytes.Repeat([]byte{1}, 4<<20)))
	})
}

func benchmarkRefusal(b *testing.B, data []byte) {
	p := testOpener(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Open(storedAs(testID), data); err == nil {
			b.Fatal("opened")
		}
	}
}

// BenchmarkDecodeManifest decodes the manifest of a flare of many small frames.
func BenchmarkDecodeManifest(b *testing.B) {
	const n = 9000
	frames := make([]frame.Frame, n)
	for i := range frames {
		frames[i] = testFrames()[0]
		frames[i].BatchID = frame.BatchID(fmt.Sprintf("%032x", i))
	}
	m := testManifest()
	require.NoError(b, m.fill(frames))
	raw, err := encodeManifest(m)
	require.NoError(b, err)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		_, err := decodeManifest(raw)
		require.NoError(b, err)
	}
}
