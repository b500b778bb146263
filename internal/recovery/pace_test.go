package recovery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Several flares are worked on and several records are on their way at a time,
// never more than configured, be they of many flares or of one; one slow gateway
// costs its latency once for all of them, and every record arrives once.
func TestSeveralAtATime(t *testing.T) {
	for _, row := range []struct{ flares, records int }{{40, 3}, {1, 120}} {
		inWorld(t, func(w *world) {
			w.set.Flares, w.set.Gateway.Senders = 4, 6
			for range row.flares {
				frames := make([]frame.Frame, row.records)
				for i := range frames {
					frames[i] = w.logs("acme/host-17", 1, "a")
				}
				w.flare("acme/host-17", frames...)
			}
			var now, most int
			w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
				w.gateway.count(func() { now++; most = max(most, now) })
				time.Sleep(100 * time.Millisecond)
				w.gateway.count(func() { now-- })
				return otlpsend.Answer{}
			}
			l := w.run(4 * time.Second)
			require.Equal(t, 6, most)
			require.Empty(t, w.under("f/"), "120 records of 100 ms, 6 at a time")
			require.Len(t, w.gateway.got, 120)
			for id, n := range w.gateway.got {
				require.Equal(t, 1, n, id)
			}
			require.EqualValues(t, row.flares, l.Snapshot().RecoveredFlares)
			require.Zero(t, l.Snapshot().Pending)
			require.Equal(t, load{}, l.pace.busy)
			w.onlyOurs()
		})
	}
}

// While the gateway does not answer, one record of one flare asks whether it does.
func TestOneRecordWhileTheGatewayIsDown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.Flares, w.set.Gateway.Senders = 8, 8
		for range 50 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "a"), w.logs("acme/host-17", 1, "b"))
		}
		var now, most int
		up := false
		w.gateway.answer = func(ctx context.Context, _ *otlpsend.Request) otlpsend.Answer {
			w.gateway.count(func() { now++; most = max(most, now) })
			defer w.gateway.count(func() { now-- })
			if up {
				return otlpsend.Answer{}
			}
			<-ctx.Done()
			return down()
		}
		l := New(w.set)
		w.resume(l, time.Hour)
		require.Equal(t, 1, most)
		require.Greater(t, len(w.gateway.requests), 30)
		require.Equal(t, 50, l.Snapshot().Pending)
		up = true
		w.resume(l, time.Minute)
		require.Empty(t, w.under("f/"))
	})
}

// A flare that is alone in its size is worked on alone.
func TestRoomForOneLargeFlare(t *testing.T) {
	p := newPacer(Settings{Flares: 8, Gateway: Gateway{Senders: 8}})
	require.True(t, p.roomFor(64<<20, false), "one always")
	p.busy = load{flares: 1, bytes: 1}
	require.False(t, p.roomFor(1, false), "no second one before the first was settled")
	p.settled()
	require.True(t, p.roomFor(1, false))
	require.False(t, p.roomFor(maxBusyBytes, false))
	p.busy = load{flares: 1, bytes: 64 << 20}
	require.False(t, p.roomFor(1, false))
	p.busy = load{flares: 8}
	require.False(t, p.roomFor(1, false))
	p.busy = load{flares: 1}
	require.False(t, p.roomFor(1, true), "a suspect beside nothing")
	p.busy = load{flares: 1, alone: true}
	require.False(t, p.roomFor(1, false), "and nothing beside it")
}

// A path that breaks under load gets half of it, and more again ack by ack.
func TestLoadIsHalved(t *testing.T) {
	p := newPacer(Settings{Flares: 8, Gateway: Gateway{Senders: 8}})
	acks := func(n int) {
		for range n {
			p.acked(time.Millisecond, 0)
		}
	}
	acks(7 * meanOf)
	p.busy = load{sends: 7}
	require.True(t, p.maySend())
	p.passed(nil)
	require.True(t, p.maySend())
	p.passed(errors.New("throttled"))
	p.busy = load{}
	require.True(t, p.maySend())
	p.busy = load{sends: 1}
	require.False(t, p.maySend())
	acks(raiseAfter - 1)
	p.busy = load{sends: 3}
	require.True(t, p.maySend())
	p.busy = load{sends: 4}
	require.False(t, p.maySend())
	acks(5 * raiseAfter)
	p.busy = load{sends: 7}
	require.True(t, p.maySend())
}

// A gateway that works on so many records at a time gets about so many: what is
// beyond would wait there, in the way of what agents send.
func TestNoMoreThanTheGatewayWorksOn(t *testing.T) {
	for _, row := range []struct{ parallel, least, most int }{{1, 1, 2}, {4, 3, 5}, {100, 8, 8}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPacer(Settings{Flares: 8, Gateway: Gateway{Senders: 8}})
			acks, windows := 0, 0
			for begin := time.Now(); time.Since(begin) < 10*time.Minute; {
				const one = 10 * time.Millisecond
				took := one * time.Duration(max(p.window, row.parallel)) / time.Duration(row.parallel)
				time.Sleep(took / time.Duration(p.window))
				acks, windows = acks+1, windows+p.window
				p.acked(took, 0)
				require.LessOrEqual(t, p.window, row.most)
			}
			mean := float64(windows) / float64(acks)
			require.GreaterOrEqual(t, mean, 0.9*float64(row.least))
			if row.parallel == 1 {
				require.Less(t, mean, 1.1, "one at a time, and now and then a second one")
			}
		})
	}
}

// A gateway that knows what agents bear is asked no more, and gets what it asks for;
// not more than there may be, nor what broke the path a moment ago.
func TestTheGatewayAsksForAWindow(t *testing.T) {
	p := newPacer(Settings{Flares: 8, Gateway: Gateway{Senders: 8}})
	for _, row := range []struct{ asked, want int }{{16, 8}, {1, 1}, {3, 3}} {
		for range 2 * meanOf {
			p.acked(time.Second, row.asked)
			require.Equal(t, row.want, p.window)
		}
	}
	p.acked(time.Second, 8)
	p.passed(errors.New("throttled"))
	require.Equal(t, 1, p.window)
	p.acked(time.Second, 16)
	require.Equal(t, 4, p.window)
	for range meanOf {
		p.acked(time.Second, 0)
	}
	require.Equal(t, 1, p.window, "another one, that says nothing: measured from one on")
}

// Agents send more from some time on, so that the gateway is slower for everybody:
// recovery finds the new measure, and does not stay with the old one.
func TestTheMeasureIsTakenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(Settings{Flares: 8, Gateway: Gateway{Senders: 8}})
		for _, took := range []time.Duration{time.Millisecond, 20 * time.Millisecond, time.Millisecond} {
			for begin := time.Now(); time.Since(begin) < 2*measureEach; {
				time.Sleep(took / time.Duration(p.window))
				p.acked(took, 0)
			}
			require.Equal(t, 8, p.window, "the others are slow, not we")
		}
	})
}

// Two copies into a quarantine that has room for one.
func TestQuarantineBoundHoldsAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.Flares, w.set.QuarantineMaxBytes = 8, 400
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "settles first"))
		time.Sleep(time.Second)
		for range 6 {
			w.put("f/"+frame.RandomHex()+".age", make([]byte, 150))
		}
		w.bucket.Seen = func(c bucket.Call) {
			if c.Op == "copy" {
				time.Sleep(time.Second)
			}
		}
		l := w.run(time.Minute)
		require.Equal(t, map[string]int{"copy": 4}, l.Snapshot().Stuck)
		require.EqualValues(t, 300+len(probeText), l.keeping.quarantined)
	})
}
