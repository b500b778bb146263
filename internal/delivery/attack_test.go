package delivery

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// A flare of a ring that filled behind a slow gateway, with buckets that refuse:
// it held its frames for ever, because the gate never closed and so never opened.
func TestRefusedFlareGoesBackToALivingGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.padding = 1000
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			time.Sleep(10 * time.Second)
			return true, ack
		})
		w.failPuts(bucket.BeforeEffect, bucket.Denied)
		for range 100 {
			_ = w.accept(40)
			w.wait(time.Second)
		}
		require.NotEmpty(t, w.buckets[0].Calls(), "the ring filled and a flare was tried")
		w.gw.set(up)
		w.wait(10 * time.Minute)
		require.Zero(t, w.logs().Held)
	})
}

// Open frames of many metadata values filled the ring and could be neither
// flared nor dropped: everything was refused although the bucket was healthy.
func TestManyMetadataValuesDoNotCloseTheIntake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(down)
		refused := 0
		for i := range 2900 {
			pieces, err := new(otlpcodec.Scratch).EncodeLogs(oneRecord(), 16<<10)
			require.NoError(t, err)
			if w.e.Accept(frame.Logs, map[string][]string{"t": {strconv.Itoa(i)}}, pieces) != nil {
				refused++
			}
			if i%20 == 19 {
				w.wait(200 * time.Millisecond)
			}
		}
		require.NotEmpty(t, w.buckets[0].Calls())
		require.Less(t, refused, 290)
	})
}

// A PUT that hung when the shutdown began took all the time there was, beside a
// second bucket that was healthy.
func TestShutdownDoesNotWaitForAHangingBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(down)
		w.buckets[0].Hang("put", -1, bucket.BeforeEffect)
		require.NoError(t, w.accept(10))
		for w.e.ring.View().Flaring == 0 {
			w.wait(time.Second)
		}
		require.NoError(t, w.accept(5))
		w.shutdown()
		require.Zero(t, sum(w.logs().Lost))
		require.Equal(t, int64(15), sum(w.logs().Flared))
		require.NotEmpty(t, w.buckets[1].Calls())
	})
}

// Between a flare that gave its frames back and the next look at the ring, a
// shutdown took the ring for empty.
func TestShutdownWaitsForFramesOfAFlare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		require.False(t, w.e.fb.exhausted(ring.View{Flaring: 3}))
		require.True(t, w.e.fb.exhausted(ring.View{}))
	})
}

// A captive portal dated a flare 400 days back: recovery would not have taken it.
func TestOnlyProvenAnswersTellTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			a := html
			a.Date = time.Now().Add(-400 * 24 * time.Hour)
			return false, a
		})
		require.NoError(t, w.accept(1))
		w.wait(6 * time.Minute)
		require.NotEmpty(t, w.flares)
		require.WithinDuration(t, time.Now(), w.flares[0].Created.Time, 10*time.Minute)
	})
}
