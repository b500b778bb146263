package delivery

import (
	"context"
	"sync"
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

// moments are states that a shutdown finds an engine in.
var moments = map[string]func(*world){
	"nothing ever came": func(*world) {},
	"a frame is open":   func(w *world) { require.NoError(w.t, w.accept(5)) },
	"frames are sent": func(w *world) {
		w.feed(5, time.Second, 20*time.Second)
	},
	"a flare is put": func(w *world) {
		require.NoError(w.t, w.accept(5))
		for range 330 {
			if w.e.ring.View().Flaring > 0 {
				break
			}
			w.wait(time.Second)
		}
		require.NoError(w.t, w.accept(5))
	},
	"frames are parked": func(w *world) {
		w.gw.mu.Lock()
		before := w.gw.script
		w.gw.mu.Unlock()
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, tooBig })
		require.NoError(w.t, w.accept(2))
		w.wait(3 * time.Second)
		w.gw.set(before)
		require.NoError(w.t, w.accept(3))
		w.wait(2 * time.Second)
	},
	"a drill waits": func(w *world) {
		w.e.ring.AddDrill([]byte("x"), 1, time.Now())
		require.NoError(w.t, w.accept(1))
	},
	"the ring is full": func(w *world) {
		w.padding = 5000
		for range 60 {
			_ = w.accept(12)
			w.wait(100 * time.Millisecond)
		}
	},
}

// callers are ways to ask for a shutdown. All of them are bounded.
var callers = map[string]func(*world){
	"once": func(w *world) { require.NoError(w.t, w.e.Shutdown(context.Background())) },
	"twice": func(w *world) {
		require.NoError(w.t, w.e.Shutdown(context.Background()))
		require.NoError(w.t, w.e.Shutdown(context.Background()))
	},
	"at the same time": func(w *world) {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { assert.NoError(w.t, w.e.Shutdown(context.Background())) })
		}
		wg.Wait()
	},
	"without time": func(w *world) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		require.NoError(w.t, w.e.Shutdown(ctx))
	},
	"an intake closed long ago": func(w *world) {
		w.e.CloseIntake(frame.Logs)
		w.wait(time.Minute)
		require.NoError(w.t, w.e.Shutdown(context.Background()))
	},
	"while calls come in": func(w *world) {
		begun := make(chan struct{})
		pieces, err := new(otlpcodec.Scratch).EncodeLogs(oneRecord(), 0)
		require.NoError(w.t, err)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					if i == 10 {
						begun <- struct{}{}
					}
					if err := w.e.Accept(frame.Logs, nil, pieces); err == ErrClosed { //nolint:errorlint // as it is
						return
					}
					<-time.NewTimer(time.Millisecond).C
				}
			})
		}
		for range 4 {
			<-begun
		}
		require.NoError(w.t, w.e.Shutdown(context.Background()))
		wg.Wait()
	},
}

// TestShutdownTable ends engines in every state, beside every pair of a gateway
// and buckets, in every way: in time, with every item's fate known and told.
func TestShutdownTable(t *testing.T) {
	gateways := map[string]script{"up": up, "down": down, "hung": hung, "answers get lost": lostAnswer}
	stores := map[string]func(*bucket.Fake){
		"good":      func(*bucket.Fake) {},
		"denied":    func(b *bucket.Fake) { b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied}) },
		"hung":      func(b *bucket.Fake) { b.Hang("put", -1, bucket.BeforeEffect) },
		"throttled": func(b *bucket.Fake) { b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Throttled}) },
		"no answer": func(b *bucket.Fake) { b.Fail("put", -1, bucket.AfterEffect, &bucket.Error{Kind: bucket.Unknown}) },
	}
	for moment, reach := range moments {
		for caller, end := range callers {
			t.Run(moment+", "+caller, func(t *testing.T) {
				for gw, script := range gateways {
					for store, behave := range stores {
						worst := gw == "hung" && store == "hung" || gw == "up" && store == "denied"
						if caller != "once" && !worst {
							continue // the rows are told apart by what they find, not by who asks
						}
						synctest.Test(t, func(t *testing.T) {
							w := newWorld(t, nil)
							w.gw.set(script)
							for _, b := range w.buckets {
								behave(b)
							}
							reach(w)
							w.end(end, gw == "up" && caller != "without time", caller+": "+gw+", "+store)
						})
					}
				}
			})
		}
	}
}

// end shuts down and asserts what must be true then.
func (w *world) end(shutdown func(*world), lossless bool, row string) {
	t := w.t
	begin := time.Now()
	shutdown(w)
	took := time.Since(begin)
	if took >= time.Minute { // its intake was closed before
		took -= time.Minute
	}
	require.LessOrEqual(t, took, w.e.s.ShutdownTimeout, row)
	w.check()
	got := w.logs()
	require.Zero(t, got.Held, row)
	require.Zero(t, w.e.Snapshot().Used, row)
	require.Equal(t, sum(got.Lost), sum(w.lost), "%s: every loss is told", row)
	require.ErrorIs(t, w.accept(1), ErrClosed, row)
	missing, _ := w.verify()
	require.LessOrEqual(t, missing, sum(got.Lost)+got.Rejected, row)
	if lossless {
		require.Zero(t, got.Lost[LostShutdown]+got.Lost[LostFlareUnknown], row)
	}
}
