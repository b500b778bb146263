package delivery

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// TestOneProbeAndARamp counts the requests that run at the same time: one in an
// outage, and 1, 2, 4 when it is over.
func TestOneProbeAndARamp(t *testing.T) {
	for name, outage := range map[string]script{"hung": hung, "refused": down} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *Settings) { s.Frame.Linger, s.Senders, s.Flare = 0, 4, nil })
				var mu sync.Mutex
				running, most, answer := 0, 0, outage
				var ramp []int // how many ran when one was acked
				w.gw.set(func(ctx context.Context, r *otlpsend.Request, try int) (bool, otlpsend.Answer) {
					mu.Lock()
					running++
					most = max(most, running)
					now := answer
					mu.Unlock()
					effect, a := now(ctx, r, try)
					mu.Lock()
					defer mu.Unlock()
					if a.Verdict == otlpsend.Delivered {
						ramp = append(ramp, running)
					}
					running--
					return effect, a
				})
				for range 40 {
					require.NoError(t, w.accept(1))
				}
				w.wait(3 * time.Minute)
				require.Greater(t, attempts(w.gw), 3, "it was probed")
				require.Equal(t, 1, most, "by one at a time")
				mu.Lock()
				answer = func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
					<-time.NewTimer(time.Second).C
					return true, ack
				}
				mu.Unlock()
				w.wait(2 * time.Minute)
				require.Zero(t, w.logs().Held)
				require.Equal(t, 1, ramp[0], "the probe")
				require.Equal(t, 1, ramp[1])
				require.Equal(t, 2, ramp[2])
				require.Equal(t, 4, most)
				w.shutdown()
			})
		})
	}
}

// TestTheServersWish asks for time and gets it, with a share of chance on top,
// but never more than a fifth of max_age.
func TestTheServersWish(t *testing.T) {
	for _, tt := range []struct{ wish, least, most time.Duration }{
		{20 * time.Second, 20 * time.Second, 40 * time.Second},
		{45 * time.Second, 45 * time.Second, time.Minute},
		{365 * 24 * time.Hour, time.Minute, time.Minute},
	} {
		t.Run(tt.wish.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *Settings) { s.Flare = nil })
				var probes []time.Time
				w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
					probes = append(probes, time.Now())
					return false, otlpsend.Answer{Verdict: otlpsend.Down, Cause: otlpsend.CauseThrottled, RetryAfter: tt.wish, Err: timeout.Err}
				})
				require.NoError(t, w.accept(1))
				w.wait(time.Hour)
				require.Greater(t, len(probes), 20)
				for i := range len(probes) - 1 {
					gap := probes[i+1].Sub(probes[i])
					require.GreaterOrEqual(t, gap, tt.least)
					require.LessOrEqual(t, gap, tt.most)
				}
				w.gw.set(up)
				w.shutdown()
				require.Equal(t, int64(1), w.logs().Delivered)
			})
		})
	}
}
