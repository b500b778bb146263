package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

func TestDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.feed(3, 100*time.Millisecond, 10*time.Second)
		w.wait(3 * time.Second)

		got := w.logs()
		require.Equal(t, int64(300), got.Accepted)
		require.Equal(t, got.Accepted, got.Delivered)
		require.Less(t, w.gw.tries, 20, "calls are joined")
		require.Zero(t, w.e.Snapshot().Used, "an ack frees the frame")

		h, err := frame.ParseHeader(w.gw.header[frame.HeaderFrame])
		require.NoError(t, err)
		require.Equal(t, "acme/host-17", h.Agent)
		require.Equal(t, uint64(w.gw.tries), h.Seq) //nolint:gosec // small
		require.Equal(t, int64(1), h.Attempt)
		require.Equal(t, "acme-prod", w.gw.header[frame.HeaderAudience])
		_, ok := frame.ParseBatchID(w.gw.header[frame.HeaderBatchID])
		require.True(t, ok)

		w.shutdown()
		missing, twice := w.verify()
		require.Zero(t, missing)
		require.Zero(t, twice)
	})
}

func TestLingerZeroJoinsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Frame.Linger = 0 })
		for range 7 {
			require.NoError(t, w.accept(2))
		}
		w.wait(time.Second)
		require.Equal(t, 7, w.gw.tries)
		w.shutdown()
	})
}

func TestIdleDoesNotWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		require.NoError(t, w.accept(1))
		w.wait(time.Minute)
		require.Equal(t, int64(1), w.logs().Delivered)
		next, _ := w.e.step(time.Now())
		require.Zero(t, next, "an empty ring has nothing to wake up for")
		w.shutdown()
	})
}

func TestOutageAndBack(t *testing.T) {
	causeOf := map[string]otlpsend.Cause{
		"refused": otlpsend.CauseRefused, "answer lost": otlpsend.CauseTimeout, "hung": otlpsend.CauseTimeout, "html": otlpsend.CauseNotAnAck,
	}
	for name, outage := range map[string]script{
		"refused":     down,
		"answer lost": lostAnswer,
		"hung":        hung,
		"html": func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			return false, html
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.feed(2, time.Second, 10*time.Second)
				w.gw.set(outage)
				tries := w.gw.tries
				w.feed(2, time.Second, 2*time.Minute)
				require.Greater(t, w.gw.tries, tries, "the gateway was probed")
				require.Less(t, w.gw.tries-tries, 20, "by backoff")
				require.Positive(t, w.logs().Held)
				shown := w.e.Snapshot()
				require.Positive(t, shown.Frames)
				require.Len(t, shown.Causes, 1)
				require.Positive(t, shown.Causes[causeOf[name]])

				w.gw.set(up)
				w.wait(time.Minute)
				require.Zero(t, w.logs().Held)
				require.Zero(t, w.e.Snapshot().Frames)
				require.Empty(t, w.e.Snapshot().Causes, "there was an ack")
				require.Equal(t, w.accepted, w.logs().Delivered)
				require.Equal(t, []bool{false, true}, w.gateways)

				w.shutdown()
				missing, twice := w.verify()
				require.Zero(t, missing)
				if name == "answer lost" {
					require.Positive(t, twice)
				} else {
					require.Zero(t, twice)
				}
				require.Empty(t, w.stored(), "nothing was old enough for a flare")
			})
		})
	}
}

func TestFlareOnAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(down)
		w.feed(2, time.Second, 20*time.Minute)

		got := w.logs()
		require.Positive(t, got.Flared[flare.Expired])
		require.Zero(t, sum(got.Lost))
		require.LessOrEqual(t, w.e.Snapshot().OldestAge, 5*time.Minute, "nothing expires in the ring")
		require.Less(t, len(w.flares), 10)

		w.gw.set(up)
		w.wait(2 * time.Minute)
		require.Zero(t, w.logs().Held)
		w.shutdown()
		missing, twice := w.verify()
		require.Zero(t, missing)
		require.Zero(t, twice)

		flares := w.stored()
		require.NotEmpty(t, flares)
		for i, fl := range w.flares {
			require.Equal(t, uint64(i+1), fl.Seq)
			require.Empty(t, fl.Unresolved)
			require.Positive(t, fl.Report.Causes["refused"])
		}
	})
}

func TestFlareOnFilling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.padding = 2000
		w.gw.set(down)
		w.feed(20, time.Second, 4*time.Minute) // about 40 KiB a second into 3.5 MiB

		got := w.logs()
		require.Positive(t, got.Flared[flare.RingFull])
		require.Zero(t, got.Flared[flare.Expired])
		require.Zero(t, sum(got.Lost))
		w.gw.set(up)
		w.shutdown()
		w.nothingIsMissing()
	})
}

func TestFlareOnShutdown(t *testing.T) {
	for name, outage := range map[string]script{"refused": down, "hung": hung} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.padding = 2000
				w.gw.set(outage)
				w.feed(10, time.Second, time.Minute)
				took := w.shutdown()
				got := w.logs()
				require.Equal(t, got.Accepted, got.Flared[flare.Shutdown])
				require.Less(t, took, 8*time.Second, "a third for the gateway, and a moment")
				require.Greater(t, len(w.flares), 4)
				missing, twice := w.verify()
				require.Zero(t, missing)
				require.Zero(t, twice)
			})
		})
	}
}

func TestShutdownSendsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(down)
		w.feed(5, time.Second, time.Minute)
		w.gw.set(up) // no probe has seen it yet
		w.shutdown()
		require.Equal(t, w.accepted, w.logs().Delivered)
		require.Empty(t, w.stored())
	})
}

func TestShutdownWhenNothingAnswers(t *testing.T) {
	for name, when := range map[string]bucket.When{"before the effect": bucket.BeforeEffect, "after the effect": bucket.AfterEffect} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(hung)
				w.hangPuts(when)
				w.feed(5, time.Second, time.Minute)
				w.shutdown()
				got := w.logs()
				require.Equal(t, got.Accepted, sum(got.Lost))
				require.Positive(t, got.Lost[LostFlareUnknown])
				require.NotEmpty(t, w.buckets[0].Calls(), "the fault was met")
				require.Equal(t, got.Lost, w.lost, "every loss is told")
				if missing, _ := w.verify(); when == bucket.AfterEffect {
					require.Zero(t, missing, "what is unknown may have landed")
				} else {
					require.Equal(t, got.Accepted, missing)
				}
			})
		})
	}
}

func TestShutdownIsBoundAndIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Flare = nil })
		w.gw.set(hung)
		w.feed(5, time.Second, 5*time.Second)
		w.shutdown()
		require.Equal(t, w.accepted, w.logs().Lost[LostShutdown])
		require.NoError(t, w.e.Shutdown(t.Context()))
		require.ErrorIs(t, w.accept(1), ErrClosed)
	})
	synctest.Test(t, func(t *testing.T) { // a context that ends makes it shorter
		w := newWorld(t, nil)
		w.gw.set(hung)
		w.feed(5, time.Second, 5*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		require.NoError(t, w.e.Shutdown(ctx))
		require.Equal(t, 3*time.Second, time.Since(begin))
		require.Equal(t, w.accepted, w.logs().Lost[LostShutdown])
		w.check()
	})
	synctest.Test(t, func(t *testing.T) { // without Start
		w := newWorld(t, nil)
		e, err := New(w.e.s)
		require.NoError(t, err)
		require.ErrorIs(t, e.Accept(frame.Logs, nil, []otlpcodec.Piece{{Raw: []byte("x"), Items: 1}}), ErrClosed)
		require.NoError(t, e.Shutdown(t.Context()))
		require.NoError(t, e.Shutdown(t.Context()))
		require.Error(t, e.Start(t.Context()), "it has ended")
		require.Error(t, w.e.Start(t.Context()), "there is one life")
		w.shutdown()
	})
}

// deafGateway never looks at its context.
type deafGateway struct{ release chan struct{} }

func (d deafGateway) Send(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
	<-d.release
	r.Released()
	return ack
}

func TestShutdownOfADeafTransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := deafGateway{make(chan struct{})}
		w := newWorld(t, func(s *Settings) { s.Transport, s.Flare = deaf, nil })
		require.NoError(t, w.accept(3))
		w.wait(5 * time.Second)
		begin := time.Now()
		require.Error(t, w.e.Shutdown(t.Context()))
		require.Equal(t, 20*time.Second+lastMoment, time.Since(begin))
		w.check()
		require.Equal(t, int64(3), w.logs().Lost[LostShutdown])
		close(deaf.release)
		synctest.Wait()
		require.Equal(t, int64(3), w.logs().LateAcks, "the first way out of the ring wins")
		w.check()
	})
}

// slowGateway takes a while to notice that it was cancelled, and has acked by then.
type slowGateway struct{}

func (slowGateway) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	<-ctx.Done()
	time.Sleep(lastMoment / 2)
	r.Released()
	return ack
}

// However short a shutdown is, what is cancelled has a moment to end, and what is
// acked in it is not told as lost.
func TestAnAckOfTheLastMomentCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Transport, s.Flare, s.ShutdownTimeout = slowGateway{}, nil, time.Second })
		require.NoError(t, w.accept(3))
		w.wait(5 * time.Second)
		require.NoError(t, w.e.Shutdown(t.Context()))
		require.Equal(t, int64(3), w.logs().Delivered)
		require.Empty(t, w.lost)
		w.check()
	})
}
