package recovery

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// A server that says it refused more than it was sent turns no count back.
func TestMoreRejectedThanSent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 3, "x"))
		x := &refuser{w.gateway, 1 << 40}
		w.set.Gateway.Transport = x
		s := w.run(time.Minute).Snapshot()
		require.Zero(t, s.RecoveredItems)
		require.EqualValues(t, 3, s.RejectedItems)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Zero(t, w.events[0].Items)
	})
}

// refuser acks by partial success alone.
type refuser struct {
	otlpsend.Transport
	rejected int64
}

func (r *refuser) Send(ctx context.Context, q *otlpsend.Request) otlpsend.Answer {
	a := r.Transport.Send(ctx, q)
	a.Rejected = r.rejected
	return a
}

// Of a flare whose records are all refused little is remembered while it waits, and yet
// all of it is told apart in the end: what is bad, and what was only refused for a while.
func TestAGatewayThatRefusesEverything(t *testing.T) {
	inWorld(t, func(w *world) {
		const records, bad = 300, 20
		var frames []frame.Frame
		isBad := map[string]bool{}
		for i := range records {
			f := w.logs("acme/host-17", 1, "x")
			if i < bad {
				isBad[string(f.BatchID)] = true
			}
			frames = append(frames, f)
		}
		w.flare("acme/host-17", frames...)
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "good"))
		refuses := true
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if refuses || isBad[r.Header[frame.HeaderBatchID]] {
				return badData()
			}
			return otlpsend.Answer{}
		}
		w.set.Flares, w.set.Gateway.Senders = 8, 8
		l := New(w.set)
		w.resume(l, time.Hour)
		require.Equal(t, map[string]int{"refused": 2}, l.Snapshot().Waiting)
		for _, m := range l.memos {
			require.LessOrEqual(t, len(m.work.doubt), maxDoubts)
		}
		refuses = false
		w.resume(l, time.Hour)
		require.Len(t, w.gateway.got, records-bad+1)
		for id, n := range w.gateway.got {
			require.Equal(t, 1, n, id)
		}
		require.Equal(t, map[string]int64{"refused_record": 1}, l.Snapshot().Quarantined)
		require.EqualValues(t, 1, l.Snapshot().RecoveredFlares)
		require.Empty(t, w.under("f/"))
	})
}

// A refusal is no longer believed when the server found the record too large since,
// also if it could not be cut just then.
func TestTooLargeIsNoProof(t *testing.T) {
	inWorld(t, func(w *world) {
		f, other := w.logs("acme/host-17", 2, "x"), w.logs("acme/host-17", 1, "acked")
		id := w.flare("acme/host-17", f, other)
		x := &broken{Bucket: w.bucket, kind: bucket.Refused, fails: func(op, key string) bool {
			return op == "put" && key == "lifeline/try/"+id+".s1"
		}}
		w.set.Bucket = x
		attempts := 0
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if r.Header[frame.HeaderBatchID] != string(f.BatchID) {
				return otlpsend.Answer{}
			}
			attempts++
			if attempts == 2 {
				return otlpsend.Answer{Verdict: otlpsend.TooLarge, Err: errDead}
			}
			return badData()
		}
		l := New(w.set)
		w.resume(l, 24*time.Hour)
		require.Positive(t, x.struck)
		require.Greater(t, attempts, 2)
		require.Equal(t, map[string]int{reasonDoubt: 1}, l.Snapshot().Waiting)
		require.Len(t, w.under("f/"), 1)
	})
}
