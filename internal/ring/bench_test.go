package ring

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// telemetry returns n bytes of which zstd saves about as much as of spans with
// random ids.
func telemetry(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same bytes every time
	b := make([]byte, 0, n+256)
	for len(b) < n {
		b = binary.BigEndian.AppendUint64(b, random.Uint64())
		b = binary.BigEndian.AppendUint64(b, random.Uint64())
		b = append(b, "http.request.method GET url.path /api/v1/orders/ server.address shop.example.com http.response.status_code 200"...)
	}
	return b[:n]
}

// cycle takes one call all the way through the ring.
func (r *Ring) cycle(b *testing.B, raw []byte) {
	b.Helper()
	full, _, err := r.Push(Call{Signal: frame.Traces, Pieces: []Piece{{raw, 100}}, Now: begin})
	if err != nil || len(full) != 1 || !r.Seal(full[0], otlpcodec.Compress) {
		b.Fatal("not sealed", err)
	}
	f, _ := r.Lease(Wish{Now: begin})
	_, release, ok := r.Begin(f, begin, nil)
	if !ok {
		b.Fatal("not leased")
	}
	release()
	r.Ack(f, 0)
}

// BenchmarkFrame takes frames of several sizes through a ring that is empty but
// for them, and through one that is not.
func BenchmarkFrame(b *testing.B) {
	for name, source := range map[string]memory{"heap": heap{}, "system": system()} {
		for _, kib := range []int{1, 32, 256} {
			for _, backlog := range []int{0, 100} {
				b.Run(fmt.Sprintf("memory=%s/KiB=%d/backlog=%d", name, kib, backlog), func(b *testing.B) {
					benchmarkFrame(b, source, telemetry(kib<<10), backlog)
				})
			}
		}
	}
}

func benchmarkFrame(b *testing.B, source memory, raw []byte, backlog int) {
	b.Helper()
	r := benchRing()
	r.space.pool.source = source
	defer r.LoseAll("shutdown")
	for range backlog {
		full, _, err := r.Push(Call{Signal: frame.Logs, Pieces: []Piece{{raw, 100}}, Now: begin})
		require.NoError(b, err)
		require.True(b, r.Seal(full[0], store))
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		r.cycle(b, raw)
	}
}

func benchRing() *Ring {
	return New(Config{Agent: "a", Boot: frame.RandomHex(), Capacity: 256 << 20, SetAside: 8 << 20, MaxFrame: 256 << 10, DropOldest: true})
}

// crowded returns a ring that holds many small frames.
func crowded(b *testing.B) *Ring {
	b.Helper()
	const frames = 20_000
	r := benchRing()
	for range frames {
		full, _, err := r.Push(Call{Signal: frame.Logs, Pieces: []Piece{{[]byte("one log record"), 1}}, Now: begin})
		require.NoError(b, err)
		require.True(b, r.Seal(full[0], store))
	}
	b.Cleanup(func() { r.LoseAll("shutdown") })
	return r
}

// BenchmarkProbe is an attempt that fails, in an outage.
func BenchmarkProbe(b *testing.B) {
	r := crowded(b)
	b.ReportAllocs()
	for b.Loop() {
		f, _ := r.Lease(Wish{Now: begin, Spread: 4})
		_, release, _ := r.Begin(f, begin, nil)
		release()
		r.Nack(f)
	}
}

// BenchmarkGiveUp takes a flare of many frames and gives it up.
func BenchmarkGiveUp(b *testing.B) {
	r := crowded(b)
	b.ReportAllocs()
	for b.Loop() {
		fl := r.Take(FlareWish{Fits: func(n int, _, _ int64) bool { return n <= 2000 }})
		r.GiveUp(fl, false)
	}
}

func BenchmarkView(b *testing.B) {
	r := crowded(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = r.View()
		_ = r.ParkedBytes()
	}
}

func BenchmarkPark(b *testing.B) {
	r := crowded(b)
	for range 5000 {
		f, _ := r.Lease(Wish{Now: begin})
		_, release, _ := r.Begin(f, begin, nil)
		release()
		r.Park(f)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = r.ParkedBytes()
	}
}
