package delivery

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// TestLoadCondemnsNothing has a gateway that asks some frames to come later, for
// hours, while it takes others: that is about its load and never about a frame,
// however small that is.
func TestLoadCondemnsNothing(t *testing.T) {
	for name, busy := range map[string]otlpsend.Answer{
		"throttled":   {Verdict: otlpsend.Down, Cause: otlpsend.CauseThrottled, Err: timeout.Err},
		"retry after": {Verdict: otlpsend.Down, Cause: otlpsend.CauseServer, RetryAfter: time.Second, Err: timeout.Err},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *Settings) { s.Frame.Linger, s.Ring.MaxAge, s.Flare = 0, time.Hour, nil })
				w.gw.set(w.poison(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, busy }, "record-0"))
				for range 120 {
					require.NoError(t, w.accept(1))
					w.wait(time.Minute)
				}
				require.Greater(t, w.poisoned, 2*splitAfter, "the fault was met")
				got := w.logs()
				require.Zero(t, got.Rejected)
				require.Equal(t, int64(119), got.Delivered)
				w.gw.set(up)
				w.wait(5 * time.Minute)
				require.Equal(t, int64(120), w.logs().Delivered)
				w.shutdown()
			})
		})
	}
}

// TestMoreRejectedThanSent has a server that says it rejected more items than a
// frame has: neither counters nor the log repeat that.
func TestMoreRejectedThanSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			return true, otlpsend.Answer{Verdict: otlpsend.Delivered, Rejected: math.MaxInt64, Message: "all of them"}
		})
		require.NoError(t, w.accept(5))
		w.wait(5 * time.Second)
		require.Equal(t, int64(5), w.logs().Rejected)
		require.Zero(t, w.logs().Delivered)
		require.Equal(t, int64(5), w.rejected)
		w.shutdown()
	})
}
