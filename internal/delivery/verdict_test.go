package delivery

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

func TestPartialSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			return true, otlpsend.Answer{Verdict: otlpsend.Delivered, Rejected: 2, Message: "no"}
		})
		require.NoError(t, w.accept(5))
		w.wait(5 * time.Second)
		got := w.logs()
		require.Equal(t, int64(3), got.Delivered)
		require.Equal(t, int64(2), got.Rejected)
		require.Equal(t, int64(2), w.rejected)
		w.shutdown()
	})
}

// TestTooLarge sends to a gateway that takes small requests only: frames are
// halved down to it, and an item that is too large by itself is set aside and
// flared apart.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var refused atomic.Int64
		w.gw.set(func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			if r.RawSize > 1000 {
				refused.Add(1)
				return false, tooBig
			}
			return true, ack
		})
		require.NoError(t, w.accept(40))
		w.padding = 2000
		require.NoError(t, w.accept(1))
		w.wait(10 * time.Second)
		require.Positive(t, refused.Load())
		got := w.logs()
		require.Equal(t, int64(40), got.Delivered)
		require.Equal(t, int64(1), got.Rejected)
		require.Zero(t, got.Held)
		require.Equal(t, int64(1), w.rejected)
		seqs := map[uint64]bool{}
		for _, batches := range w.gw.got {
			id, ok := frame.ParseBatchID(batches[0])
			require.True(t, ok)
			require.NotEqual(t, id.Root(), id, "a half has its own id")
		}
		h, err := frame.ParseHeader(w.gw.header[frame.HeaderFrame])
		require.NoError(t, err)
		seqs[h.Seq] = true
		require.True(t, seqs[1], "halves keep the seq")

		w.wait(time.Minute)
		flares := w.stored()
		require.Len(t, flares, 1)
		require.Equal(t, flare.Rejected, flares[0].Manifest.Reason)
		require.Equal(t, int64(1), w.logs().Rejected, "storing it moves no counter")
		require.Zero(t, w.e.Snapshot().Used)
		w.shutdown()
		missing, twice := w.verify()
		require.Equal(t, int64(1), missing)
		require.Zero(t, twice)
	})
}

// holds reports whether one of the records of r is in the list.
func (w *world) holds(r *otlpsend.Request, list ...string) bool {
	return slices.ContainsFunc(w.records(r.Body, r.RawSize), func(id string) bool { return slices.Contains(list, id) })
}

func TestBadData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Frame.Linger = 0 })
		var everything atomic.Bool
		everything.Store(true)
		var tries atomic.Int64
		w.gw.set(func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			if everything.Load() || w.holds(r, "record-1") {
				tries.Add(1)
				return false, badData
			}
			return true, ack
		})
		for range 5 {
			require.NoError(t, w.accept(1))
		}
		w.wait(2 * time.Minute)
		require.Greater(t, tries.Load(), int64(2))
		require.Zero(t, w.logs().Rejected, "a firewall's 400 must not condemn a fleet")
		require.Equal(t, int64(5), w.logs().Held)

		everything.Store(false)
		w.wait(2 * time.Minute)
		require.Equal(t, int64(4), w.logs().Delivered)
		require.Equal(t, int64(1), w.logs().Rejected)
		w.shutdown()
		require.Equal(t, flare.Rejected, w.stored()[0].Manifest.Reason)
	})
}

// TestPoison has one record in many that the path does not stand: whatever
// carries it times out. Everything else must go through, and in the end the one
// is cut out and set aside.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Ring.MaxAge = 2 * time.Hour })
		var poisoned atomic.Int64
		w.gw.set(func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			if w.holds(r, "record-7") {
				poisoned.Add(1)
				return false, refusal
			}
			return true, ack
		})
		w.feed(4, time.Second, 30*time.Minute)
		got := w.logs()
		require.Greater(t, poisoned.Load(), int64(splitAfter))
		require.Equal(t, int64(1), got.Rejected, "%+v", got)
		require.Zero(t, sum(got.Lost))
		require.Less(t, got.Held, int64(40))
		w.shutdown()
		missing, twice := w.verify()
		require.Equal(t, int64(1), missing)
		require.Zero(t, twice)
	})
}

// flipper breaks the rule of io.Writer: it changes a bit of what it is given,
// which is the ring's own memory.
type flipper struct{}

func (flipper) Write(p []byte) (int, error) {
	p[len(p)/2] ^= 1 //nolint:staticcheck // the damage is the point
	return len(p), nil
}

// TestCorruptMemory damages a stored frame: it alone is lost, and says so.
func TestCorruptMemory(t *testing.T) {
	for name, answer := range map[string]otlpsend.Answer{"too large": tooBig, "bad data": badData} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *Settings) { s.Frame.Linger = 0 })
				w.gw.set(func(_ context.Context, r *otlpsend.Request, try int) (bool, otlpsend.Answer) {
					if try == 1 {
						_, _ = r.Body.WriteTo(flipper{})
					}
					return false, refusal
				})
				for range 5 {
					require.NoError(t, w.accept(1))
				}
				w.wait(time.Second)
				var damaged atomic.Int64
				w.gw.set(func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
					if _, err := otlpcodec.Decompress(r.Body, r.RawSize); err != nil {
						damaged.Add(1)
						return false, answer
					}
					return true, ack
				})
				w.wait(3 * time.Minute)
				require.Positive(t, damaged.Load())
				require.Equal(t, int64(1), w.logs().Lost[LostCorrupt])
				require.Equal(t, int64(4), w.logs().Delivered)
				require.Equal(t, int64(1), w.lost[LostCorrupt])

				require.NoError(t, w.accept(1))
				w.wait(time.Second)
				h, err := frame.ParseHeader(w.gw.header[frame.HeaderFrame])
				require.NoError(t, err)
				require.Equal(t, int64(1), h.Lost, "told in what is delivered next")
				require.Equal(t, "corrupt", h.LostReason)
				w.shutdown()
			})
		})
	}
}
