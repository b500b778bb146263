package recovery

import (
	"context"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// open returns the flare of id as an operator has it.
func (w *world) open(id string) *flare.Flare {
	data, info, err := w.bucket.Get(w.t.Context(), flare.Key("f/", id), bucket.GetOptions{Limit: flare.MaxObject})
	require.NoError(w.t, err)
	fl, err := w.keys.Opener.Open(flare.Object{ID: id, LastModified: info.LastModified}, data)
	require.NoError(w.t, err)
	return fl
}

// What was acked before an interruption is known to the caller, and not sent
// again by the next process.
func TestByHandGoesOnWhereItStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		fl := w.open(w.flare("acme/host-17", w.logs("acme/host-17", 1, "a"), w.logs("acme/host-17", 2, "b"), w.logs("acme/host-17", 3, "c")))
		dead := func(context.Context, *otlpsend.Request) otlpsend.Answer {
			if len(w.gateway.requests) >= 2 {
				return down()
			}
			return otlpsend.Answer{}
		}
		w.gateway.answer = dead
		r, err := NewForwarder(w.set.Gateway, time.Minute).Forward(w.t.Context(), fl, nil)
		require.ErrorContains(t, err, "gateway: ")
		require.Greater(t, len(w.gateway.requests), 3, "it did not insist")
		require.Len(t, r.Acked, 1)
		require.EqualValues(t, 1, r.Items)

		w.gateway.answer, w.gateway.requests = nil, nil
		r, err = NewForwarder(w.set.Gateway, 0).Forward(w.t.Context(), fl, r.Acked)
		require.NoError(t, err)
		require.NoError(t, r.Refused)
		require.Len(t, w.gateway.requests, 2)
		require.EqualValues(t, 5, r.Items)
		require.Len(t, w.gateway.got, 3)
	})
}

// A refused record is named, whether its badness is proven or not: the flare is
// not done.
func TestByHandTellsRefusedRecords(t *testing.T) {
	inWorld(t, func(w *world) {
		bad, good := w.logs("acme/host-17", 1, "bad"), w.logs("acme/host-17", 1, "good")
		fl := w.open(w.flare("acme/host-17", bad, good))
		w.gateway.answer = refuse(bad.BatchID)
		r, err := NewForwarder(w.set.Gateway, 0).Forward(w.t.Context(), fl, nil)
		require.NoError(t, err)
		require.ErrorIs(t, r.Refused, errBad)
		require.Len(t, r.Acked, 1)

		w.gateway.answer = refuse(bad.BatchID, good.BatchID)
		r, err = NewForwarder(w.set.Gateway, 0).Forward(w.t.Context(), fl, nil)
		require.NoError(t, err)
		require.ErrorIs(t, r.Refused, errDoubt)
		require.Empty(t, r.Acked)
	})
}

// A marker made by hand keeps recovery from forwarding; when it is taken back,
// recovery forwards again.
func TestNotes(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		fl, data := w.open(id), w.bytes(flare.Key("f/", id))
		notes := NotesIn(w.bucket, "lifeline/")
		require.NoError(t, notes.MarkDone(w.t.Context(), fl, []age.Identity{w.id}))
		done, err := notes.Done(w.t.Context(), id)
		require.NoError(t, err)
		require.True(t, done)
		w.run(time.Minute)
		require.Empty(t, w.gateway.requests)
		require.Empty(t, w.under("f/"), "a flare that is done is deleted")

		for _, n := range []string{"1", "2", "3"} { // three processes died of it
			_, err := w.bucket.Put(w.t.Context(), "lifeline/try/"+id+"."+n, frame.Bytes(nil), bucket.PutOptions{})
			require.NoError(t, err)
		}
		require.NoError(t, notes.Forget(w.t.Context(), id))
		w.put(flare.Key("f/", id), data)
		w.run(time.Minute)
		require.Len(t, w.gateway.got, 1)
	})
}

// bytes returns an object.
func (w *world) bytes(key string) []byte {
	data, _, err := w.bucket.Get(w.t.Context(), key, bucket.GetOptions{Limit: flare.MaxObject})
	require.NoError(w.t, err)
	return data
}

func TestProveNeedsEveryRight(t *testing.T) {
	inWorld(t, func(w *world) {
		require.NoError(t, Prove(w.t.Context(), w.bucket, "f/", "lifeline/"))
		require.Equal(t, []string{"lifeline/quarantine/probe"}, w.under(""))
	})
}
