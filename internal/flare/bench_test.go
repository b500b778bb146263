package flare

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// BenchmarkSeal seals 8 MiB of stored frames of 40 KiB, as a ring holds them.
// MB/s are stored bytes; telemetry is the ratio of the load times as much.
func BenchmarkSeal(b *testing.B) {
	for _, keys := range []string{"recipients.txt", "recipients_classic.txt"} {
		b.Run(keys, func(b *testing.B) {
			s := &Sealer{Recipients: recipients(b, keys), Signer: plainSigner(b)}
			frames := make([]frame.Frame, 200)
			stored := make([]byte, 40<<10)
			for i := range stored {
				stored[i] = byte(rand.Uint32()) //nolint:gosec // only incompressible
			}
			for i := range frames {
				frames[i] = testFrames()[0]
				frames[i].BatchID, frames[i].RawSize, frames[i].Stored = frame.NewBatchID(), 256<<10, frame.Bytes(stored)
			}
			b.SetBytes(int64(len(frames) * len(stored)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Seal(io.Discard, testManifest(), frames); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefuseForgery opens a 4 MiB flare for the right recipients by a
// stranger: what an attacker with the write credential can make us do.
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

// BenchmarkOpen opens and verifies what BenchmarkSeal seals.
func BenchmarkOpen(b *testing.B) {
	frames := make([]frame.Frame, 200)
	for i := range frames {
		frames[i] = testFrames()[0]
		frames[i].RawSize, frames[i].Stored = 256<<10, frame.Bytes(make([]byte, 40<<10))
	}
	data := sealed(b, testSealer(b), testManifest(), frames)
	p := testOpener(b)
	b.SetBytes(200 * 40 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Open(storedAs(testID), data); err != nil {
			b.Fatal(err)
		}
	}
}
