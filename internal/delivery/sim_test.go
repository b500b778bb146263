package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// TestRandomWeather runs agents through hours of a gateway and buckets that
// change their minds, and holds what arrived against what was accepted.
func TestRandomWeather(t *testing.T) {
	runs := 6
	if testing.Short() {
		runs = 4
	}
	var seen struct{ flared, lost, rejected, late, twice, delivered int64 }
	for seed := range runs {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(seed), 7)) //nolint:gosec // a seed
				w := newWorld(t, func(s *Settings) {
					s.NewestFirst = r.IntN(2) == 0
					s.Ring.Refuse = r.IntN(4) == 0
					s.Senders = 1 + r.IntN(6)
					if r.IntN(3) == 0 {
						s.Frame.Linger = 0
					}
					if r.IntN(8) == 0 {
						s.Flare = nil
					}
				})
				for range 24 {
					w.weather(r)
					w.padding = 10 << r.IntN(10)
					n, interval := 1+r.IntN(8), time.Duration(1+r.IntN(3000))*time.Millisecond
					for end := time.Now().Add(time.Duration(r.IntN(150)) * time.Second); time.Now().Before(end); {
						_ = w.accept(n) // full is an answer too
						w.wait(interval)
					}
				}
				w.gw.letGo()
				w.shutdown()
				missing, twice := w.verify()
				got := w.logs()
				require.Equal(t, got.Accepted, w.accepted)
				// A record counted as lost or rejected may have arrived all the
				// same, never the other way round.
				require.LessOrEqual(t, missing, sum(got.Lost)+got.Rejected)
				require.Equal(t, sum(got.Lost), sum(w.lost), "every loss is told")
				require.Zero(t, w.e.Snapshot().Used)
				seen.flared += sum(got.Flared)
				seen.lost += sum(got.Lost)
				seen.rejected += got.Rejected
				seen.late += got.LateAcks
				seen.twice += twice
				seen.delivered += got.Delivered
			})
		})
	}
	t.Logf("%+v", seen)
	if !testing.Short() && !t.Failed() {
		require.Positive(t, seen.flared)
		require.Positive(t, seen.lost)
		require.Positive(t, seen.rejected)
		require.Positive(t, seen.late)
		require.Positive(t, seen.twice)
		require.Positive(t, seen.delivered)
	}
}

// TestNothingIsLostWhileABucketWorks has any weather at the gateway, and room.
func TestNothingIsLostWhileABucketWorks(t *testing.T) {
	var flared int64
	for seed := range 6 {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 99)) //nolint:gosec // a seed
			w := newWorld(t, nil)
			for range 24 {
				w.weather(r)
				for _, b := range w.buckets {
					b.Heal()
				}
				w.padding = 10 << r.IntN(10)
				n, interval := 1+r.IntN(3), time.Duration(500+r.IntN(3000))*time.Millisecond
				for end := time.Now().Add(time.Duration(r.IntN(300)) * time.Second); time.Now().Before(end); {
					require.NoError(t, w.accept(n))
					w.wait(interval)
				}
			}
			w.gw.letGo()
			w.shutdown()
			missing, _ := w.verify()
			got := w.logs()
			require.Zero(t, sum(got.Lost))
			require.LessOrEqual(t, missing, got.Rejected)
			flared += sum(got.Flared)
		})
	}
	require.Positive(t, flared)
}

// TestLoad accepts from many goroutines at once while the gateway comes and
// goes, and looks at the counters all the time.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Senders, s.Ring.Capacity = 8, 8<<20 })
		w.gw.set(func(_ context.Context, _ *otlpsend.Request, try int) (bool, otlpsend.Answer) {
			if try/20%2 == 1 {
				return try%3 == 0, timeout
			}
			return true, ack
		})
		var wg sync.WaitGroup
		var next atomic.Int64
		stop := make(chan struct{})
		wg.Go(func() {
			look := time.NewTicker(time.Millisecond)
			defer look.Stop()
			for !closed(stop) {
				w.check()
				<-look.C
			}
		})
		var feeders sync.WaitGroup
		for range 8 {
			feeders.Go(func() {
				for range 150 {
					pieces, err := otlpcodec.EncodeLogs(w.newRecords(next.Add(5)-5, 5), 0)
					assert.NoError(t, err)
					assert.NoError(t, w.e.Accept(frame.Logs, nil, pieces))
					timer := time.NewTimer(50 * time.Millisecond)
					<-timer.C
				}
			})
		}
		feeders.Wait()
		close(stop)
		wg.Wait()
		w.accepted = next.Load()
		w.shutdown()
		missing, twice := w.verify()
		require.Zero(t, missing)
		require.Positive(t, twice, "answers were lost")
		require.Equal(t, int64(6000), w.logs().Accepted)
	})
}

// weather draws how the gateway and the buckets behave for a while.
func (w *world) weather(r *rand.Rand) {
	limit := int64(200 << r.IntN(10))
	poison := fmt.Sprintf("record-%d", w.accepted+int64(r.IntN(20)))
	// Scripts run in many goroutines: what they draw, they draw without r.
	scripts := []script{
		up, up, down, hung, lostAnswer,
		func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, html },
		func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			if r.RawSize > limit {
				return false, tooBig
			}
			return true, ack
		},
		func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			if w.holds(r, poison) {
				return false, badData
			}
			return true, ack
		},
		func(_ context.Context, r *otlpsend.Request, try int) (bool, otlpsend.Answer) {
			if try%3 == 0 || w.holds(r, poison) {
				return try%2 == 0, timeout
			}
			return true, ack
		},
		func(ctx context.Context, _ *otlpsend.Request, _ int) (bool, otlpsend.Answer) { // slow, and deaf at the end
			timer := time.NewTimer(20 * time.Second)
			defer timer.Stop()
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			return true, ack
		},
	}
	w.gw.letGo()
	w.gw.mu.Lock()
	w.gw.script = scripts[r.IntN(len(scripts))]
	w.gw.keep = r.IntN(8) == 0
	w.gw.mu.Unlock()
	for _, b := range w.buckets {
		b.Heal()
		when := bucket.When(r.IntN(2)) //nolint:gosec // 0 or 1
		switch r.IntN(5) {
		case 0:
			b.Fail("put", 1+r.IntN(8), when, &bucket.Error{Kind: bucket.Unknown})
		case 1:
			b.Fail("put", 1+r.IntN(8), bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied})
		case 2:
			b.Hang("put", 1+r.IntN(4), when)
		}
	}
}
