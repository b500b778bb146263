package recovery

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// narrow is a gateway that takes a second for a record, and has room for so many.
type narrow struct {
	otlpsend.Transport
	room int
}

func (g narrow) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	a := g.Transport.Send(ctx, r)
	time.Sleep(time.Second)
	a.Window = g.room
	return a
}

// A flare of many records does not keep small ones waiting for its end.
func TestALargeFlareTakesTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		var many []frame.Frame
		for range 20 * turnOf {
			many = append(many, w.logs("acme/host-17", 1, "x"))
		}
		one := func() { w.flare("acme/host-17", w.logs("acme/host-17", 1, "x")) }
		one()
		time.Sleep(time.Second)
		w.flare("acme/host-17", many...)
		time.Sleep(time.Second)
		for range 5 {
			one()
		}
		w.set.Flares, w.set.Gateway.Senders = 8, 8
		w.set.Gateway.Transport = narrow{w.set.Gateway.Transport, 1}
		var items []int64
		w.set.Observer.Flare = func(e Event) { items = append(items, e.Items) }
		w.run(10 * time.Minute)
		require.Equal(t, []int64{1, 1, 1, 1, 1, 1, 20 * turnOf}, items)
	})
}

// The order of records and of their slots is that of the flare, whatever goroutine
// wakes up first.
func TestRecordsGoInTheirOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		var frames []frame.Frame
		var want, got []string
		for range 50 {
			f := w.logs("acme/host-17", 1, "x")
			frames, want = append(frames, f), append(want, string(f.BatchID))
		}
		w.flare("acme/host-17", frames...)
		w.set.Gateway.Senders, w.set.Gateway.MaxRate = 8, 32<<10
		w.set.Gateway.Transport = narrow{w.set.Gateway.Transport, 8}
		var last time.Time
		together := 0
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			w.gateway.count(func() {
				require.True(t, time.Now().After(last), "two records in one slot")
				if time.Since(last) < 100*time.Millisecond {
					together++
				}
				last, got = time.Now(), append(got, r.Header[frame.HeaderBatchID])
			})
			return otlpsend.Answer{}
		}
		w.run(time.Minute)
		require.Equal(t, want, got)
		require.Greater(t, together, 25, "several at a time")
	})
}

// Flares whose records wait for room do not try a path that broke a moment ago.
func TestWhatWaitsDoesNotTryABrokenPath(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.Flares, w.set.Gateway.Senders = 4, 1
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "settles first"))
		time.Sleep(time.Second)
		for range 4 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		}
		requests := 0
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
			time.Sleep(time.Millisecond) // the others wait
			if requests++; requests > 1 {
				return down()
			}
			return otlpsend.Answer{}
		}
		w.run(100 * time.Millisecond)
		require.Equal(t, 2, requests)
	})
}

// With more objects that wait than can be remembered, a new one still has its turn.
func TestMoreThanCanBeRemembered(t *testing.T) {
	inWorld(t, func(w *world) {
		l := New(w.set)
		l.keys = w.keys
		waits := &memo{state: Waiting}
		for i := range maxMemos {
			l.memos[strconv.Itoa(i)] = waits
		}
		key := func(i int) string { return flare.Key("f/", fmt.Sprintf("%032x", i)) }
		turn := func() bool {
			found := &listing{never: map[string]*untouchedFound{}}
			for i := range 2 * maxVisits {
				l.see(found, bucket.Info{Key: key(i), Size: 1, ETag: "x", LastModified: time.Unix(int64(i), 0)}, time.Now())
			}
			for _, o := range found.turns() {
				if o.Key == key(2*maxVisits-1) {
					return true
				}
			}
			return false
		}
		for range 100 {
			if turn() {
				return
			}
		}
		t.Error("the newest never had its turn")
	})
}
