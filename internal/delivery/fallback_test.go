package delivery

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// TestGivenUp brings the gateway back while no bucket takes the flare.
func TestGivenUp(t *testing.T) {
	for name, kind := range map[string]bucket.Kind{"throttled": bucket.Throttled, "unknown": bucket.Unknown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				w.failPuts(bucket.AfterEffect, kind)
				w.feed(3, time.Second, 10*time.Minute)
				require.NotEmpty(t, w.buckets[0].Calls())
				require.Positive(t, w.logs().Held)

				w.gw.set(up)
				w.wait(15 * time.Minute)
				got := w.logs()
				require.Zero(t, got.Held)
				require.Equal(t, got.Accepted, got.Delivered)
				require.Positive(t, w.e.Snapshot().Flares[FlareOutcome{flare.Expired, outcomeGivenUp}])

				// The next flare says which one was not known to be stored.
				w.gw.set(down)
				w.heal()
				require.NoError(t, w.accept(1))
				w.wait(10 * time.Minute)
				require.NotEmpty(t, w.flares)
				require.Contains(t, w.flares[0].Unresolved, uint64(1))
				w.shutdown()
			})
		})
	}
}

func TestShutdownDenied(t *testing.T) {
	for name, earlier := range map[string]bool{"fresh": false, "with a flare that waits": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				w.failPuts(bucket.BeforeEffect, bucket.Denied)
				require.NoError(t, w.accept(4))
				if earlier {
					w.wait(7 * time.Minute)
					require.NotZero(t, w.e.ring.View().Flaring)
					w.gw.set(up) // no probe has seen it: there was nothing to probe with
				}
				require.Less(t, w.shutdown(), time.Second, "nothing to wait for")
				require.NotEmpty(t, w.buckets[1].Calls())
				if earlier {
					require.Equal(t, int64(4), w.logs().Delivered)
				} else {
					require.Equal(t, int64(4), w.logs().Lost[LostShutdown])
				}
			})
		})
	}
}

// TestTelemetryGoesFirst has a flare of rejected frames in the way.
func TestTelemetryGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Frame.Linger = 0 })
		w.failPuts(bucket.BeforeEffect, bucket.Unreachable)
		w.gw.set(w.poison(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, tooBig }, "record-0"))
		require.NoError(t, w.accept(1))
		require.NoError(t, w.accept(1))
		w.wait(time.Minute)
		require.Equal(t, int64(1), w.logs().Rejected)
		require.NotEmpty(t, w.buckets[0].Calls())
		w.gw.set(down)
		require.NoError(t, w.accept(1))
		w.wait(6 * time.Minute)
		require.Equal(t, int64(1), w.e.Snapshot().Flares[FlareOutcome{flare.Rejected, outcomeGivenUp}])
		w.heal()
		w.wait(5 * time.Minute)
		require.Equal(t, int64(1), w.logs().Flared[flare.Expired])
		require.Len(t, w.stored(), 2, "never mixed")
		w.shutdown()
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Flare.Budget = 1 << 20 })
		w.gw.set(down)
		w.padding = 5000
		w.feed(10, time.Second, 5*time.Minute)
		got := w.logs()
		require.Positive(t, got.Flared[flare.RingFull])
		require.Positive(t, got.Lost[LostBudget])
		require.Zero(t, got.Lost[LostRingFull])
		stored := len(w.stored())

		w.feed(10, time.Second, time.Minute)
		require.Len(t, w.stored(), stored, "no flare until the day ends")
		w.wait(24 * time.Hour)
		require.Greater(t, len(w.stored()), stored)
		w.gw.set(up)
		w.shutdown()
		missing, _ := w.verify()
		require.Equal(t, w.logs().Lost[LostBudget], missing)
	})
}

// TestBrokenKeys never kills the primary.
func TestBrokenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var told []string
		w := newWorld(t, func(s *Settings) {
			s.Observer.Bucket = func(target string, ok bool, err error) { told = append(told, fmt.Sprint(target, ok, err)) }
			good := s.Flare.Sealer
			s.Flare.Sealer = func() (*flare.Sealer, error) {
				if asked++; asked < 5 {
					return nil, errors.New("flare::recipients_file: empty")
				}
				return good()
			}
		})
		w.feed(1, time.Second, 10*time.Second)
		require.False(t, w.e.Snapshot().Ready)
		w.wait(3 * time.Second)
		require.Equal(t, w.accepted, w.logs().Delivered)
		w.gw.set(down)
		require.NoError(t, w.accept(1))
		w.wait(10 * time.Minute)
		require.GreaterOrEqual(t, asked, 5)
		require.Equal(t, int64(1), w.logs().Flared[flare.Expired], "healed keys are taken")
		require.True(t, w.e.Snapshot().Ready)
		require.Equal(t, []string{"false flare::recipients_file: empty", "true <nil>"}, told)
		w.shutdown()
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) {
			s.Flare.Sealer = func() (*flare.Sealer, error) { return nil, errors.New("flare::recipients_file: empty") }
		})
		w.gw.set(down)
		require.NoError(t, w.accept(3))
		require.Less(t, w.shutdown(), 5*time.Second, "nothing to wait for")
		require.Equal(t, int64(3), w.logs().Lost[LostShutdown])
	})
}

func TestLargestFitsOneFlare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		sealer, err := w.e.s.Flare.Sealer()
		require.NoError(t, err)
		for size := int64(256 << 10); size <= 64<<20; size += 111_111 {
			w.e.s.Flare.MaxSize = size
			raw := w.e.largest()
			require.LessOrEqual(t, sealer.SizeBound(1, raw+raw>>12+64, 4096), size)
		}
		w.e.s.Flare.MaxSize = 512 << 10
		w.shutdown()
	})
}
