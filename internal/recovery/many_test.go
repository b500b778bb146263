package recovery

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// realTime returns a stopwatch that a bubble's clock does not rule.
func realTime() func() time.Duration {
	begin := time.Now()
	return func() time.Duration { return time.Since(begin) }
}

// Thousands of flares of one record each, from a fleet that lost its gateway: all
// arrive, each once.
func TestManyFlares(t *testing.T) {
	took := realTime()
	inWorld(t, func(w *world) {
		for range manyFlares {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		}
		w.set.Flares, w.set.Gateway.Senders = 8, 8
		l := w.run(time.Minute)
		require.Len(t, w.gateway.got, manyFlares)
		for id, n := range w.gateway.got {
			require.Equal(t, 1, n, id)
		}
		s := l.Snapshot()
		require.EqualValues(t, manyFlares, s.RecoveredFlares)
		require.EqualValues(t, manyFlares, s.RecoveredItems)
		require.Zero(t, s.Pending)
		require.Zero(t, s.SeqGaps)
		require.Empty(t, w.under("f/"))
		require.Len(t, w.under("lifeline/done/"), manyFlares)
	})
	t.Logf("%d flares of one record: sealed, verified, forwarded in %s", manyFlares, took().Round(time.Millisecond))
}

// The largest flare that fits: padded to 62 MiB, for the next size is 64 MiB and
// what age adds.
func TestLargestFlare(t *testing.T) {
	const records, size = 61, 1 << 20
	took := realTime()
	inWorld(t, func(w *world) {
		noise := rand.NewChaCha8([32]byte{1})
		var frames []frame.Frame
		for range records {
			body := make([]byte, size)
			_, err := noise.Read(body)
			require.NoError(t, err)
			ld := plog.NewLogs()
			ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetEmptyBytes().FromRaw(body)
			frames = append(frames, w.frameOf("acme/host-17", ld))
		}
		m, data := w.seal("acme/host-17", nil, frames...)
		require.Greater(t, len(data), 62<<20)
		require.LessOrEqual(t, len(data), flare.MaxObject)
		w.put(flare.Key("f/", m.FlareID), data)
		l := w.run(time.Minute)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Len(t, w.gateway.got, records)
		require.Len(t, w.gateway.requests, records)
		w.onlyOurs()
		require.EqualValues(t, records, l.Snapshot().RecoveredItems)
		require.EqualValues(t, len(data), l.Snapshot().RecoveredBytes)
	})
	t.Logf("one flare of %d MiB: sealed, verified, forwarded in %s", 62, took().Round(time.Millisecond))
}
