package recovery

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// A marker is kept as long as its flare is in the bucket: without it the flare
// would be forwarded again.
func TestMarkerOfFlareThatStays(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		x := &broken{Bucket: w.bucket, kind: bucket.Denied, fails: func(op, key string) bool {
			return op == "delete" && strings.HasPrefix(key, "f/") && !isProbe(key)
		}}
		w.set.Bucket = x
		w.run(time.Minute)
		require.Positive(t, x.struck)
		time.Sleep(w.set.MaxAge + markerGrace + time.Hour)
		for range 3 {
			w.run(2 * time.Hour)
		}
		require.Len(t, w.gateway.requests, 1)
		require.Equal(t, []string{id}, w.under("lifeline/done/"))

		x.fails = func(string, string) bool { return false }
		w.run(2 * time.Hour)
		require.Empty(t, w.under("f/"))
		require.Empty(t, w.under("lifeline/done/"))
	})
}

// An old marker that cannot be removed is shown, and stops neither the removal
// of the others nor recovery.
func TestMarkerThatCanNotBeSwept(t *testing.T) {
	inWorld(t, func(w *world) {
		for _, name := range []string{"a", "locked", "z"} {
			w.put("lifeline/done/"+name, []byte("x"))
		}
		time.Sleep(20 * 24 * time.Hour)
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		x := &broken{Bucket: w.bucket, kind: bucket.Denied, fails: func(op, key string) bool {
			return op == "delete" && key == "lifeline/done/locked"
		}}
		w.set.Bucket = x
		l := w.run(30 * time.Minute)
		require.Equal(t, 1, x.struck)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Len(t, w.under("lifeline/done/"), 2, "the locked one and a new one")
		require.Equal(t, map[string]int{"sweep": 1}, l.Snapshot().Stuck)
		require.NoError(t, l.Snapshot().PathError)
	})
}

// One pass removes a bounded number of markers.
func TestSweepIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		l := New(w.set)
		for range maxSweeps + 1 {
			l.keeping.old[frame.RandomHex()] = true
		}
		l.state.Lock()
		l.sweep(w.t.Context())
		l.state.Unlock()
		require.Len(t, l.keeping.old, 1)
	})
}

// However many markers are left to remove, and whatever the bucket does, a loop
// that is told to stop stops.
func TestStopsWithDebts(t *testing.T) {
	inWorld(t, func(w *world) {
		x := &wire{w: w, when: hang, left: 1 << 30, match: func(_ int, op, _ string) bool { return op == "delete" }}
		w.set.Bucket = x
		l := New(w.set)
		ctx, cancel := context.WithCancel(w.t.Context())
		for range 100 {
			l.tries.debts["lifeline/try/"+frame.RandomHex()+".1"] = true
		}
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx) })
		time.Sleep(time.Second)
		cancel()
		stopped := time.Now()
		wg.Wait()
		require.Equal(t, 1, x.struck)
		l.state.Lock()
		defer l.state.Unlock()
		for range 10 {
			id := frame.RandomHex()
			require.NoError(t, l.try(context.WithoutCancel(ctx), id, opening))
			l.untry(ctx, id, opening)
		}
		require.LessOrEqual(t, time.Since(stopped), cleanTimeout)
		require.Greater(t, x.struck, 10)
	})
}

// A debt that is not paid holds a pass up for one call, not for each.
func TestDebtsDoNotHoldUpRecovery(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		x := &wire{w: w, when: hang, left: 1 << 30, match: func(_ int, op, key string) bool {
			return op == "delete" && strings.HasPrefix(key, "lifeline/try/debt")
		}}
		w.set.Bucket = x
		l := New(w.set)
		for range 100 {
			l.tries.debts["lifeline/try/debt"+frame.RandomHex()] = true
		}
		w.resume(l, callTimeout+time.Second)
		require.Equal(t, 1, x.struck)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// hears learns a marker of a flare, of which as many logs were lost as its number says.
func (k *numbers) hears(principal, boot string, seq uint64, unresolved ...uint64) {
	k.learn(marker{FlareID: frame.RandomHex(), Principal: principal, BootID: boot, Seq: seq, Unresolved: unresolved, Lost: map[string]int64{"logs": int64(seq)}}) //nolint:gosec // as it comes
}

// Numbers that no agent gets to by counting do not hide the gaps and losses of others.
func TestSeqGapsSaturate(t *testing.T) {
	k := newNumbers()
	k.hears("p", "b", 1)
	k.hears("p", "b", 1<<64-1)
	k.hears("q", "b", 1)
	k.hears("q", "b", 10)
	k.hears("r", "b", maxSeq)
	require.EqualValues(t, 8, k.tally().SeqGaps)
	for _, liar := range []string{"s", "t"} {
		for boot := range 10 {
			k.hears(liar, strconv.Itoa(boot), 0)
			k.hears(liar, strconv.Itoa(boot), maxSeq-1, 7, 7, 7)
		}
	}
	before := k.tally()
	require.Equal(t, int64(2*maxCount+8), before.SeqGaps)
	k.hears("q", "b", 12)
	require.Equal(t, before.SeqGaps+1, k.tally().SeqGaps)
	require.Equal(t, before.ReportedLost+2, k.tally().ReportedLost)
}

// What one principal's flares say takes a bounded part of the memory.
func TestAnAgentOfManyBoots(t *testing.T) {
	k := newNumbers()
	many := make([]uint64, 256)
	for i := range 2 * maxBoots {
		for j := range many {
			many[j] = uint64(i*len(many) + j)
		}
		k.hears("p", strconv.Itoa(i), 1)
		k.hears("q", "b", uint64(i+1), many...)
	}
	k.hears("r", "b", 1)
	k.hears("r", "b", 3)
	require.Len(t, k.boots, maxBoots+2)
	require.Len(t, k.boots["q\nb"].unresolved, len(many))
	require.EqualValues(t, 1, k.tally().SeqGaps)
	for id := range maps.Clone(k.known) {
		k.unlearn(id)
	}
	require.Empty(t, k.boots)
	require.Empty(t, k.count)
}

// What signs the calls is renewed before every pass.
func TestRefreshBeforeEveryPass(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		expires := time.Time{}
		w.set.Refresh = func(context.Context) { expires = time.Now().Add(time.Minute) }
		x := &broken{Bucket: w.bucket, kind: bucket.Denied, fails: func(string, string) bool { return time.Now().After(expires) }}
		w.set.Bucket = x
		l := w.run(time.Hour)
		require.Zero(t, x.struck)
		require.EqualValues(t, 1, l.Snapshot().RecoveredFlares)
		require.Empty(t, w.paths)
	})
}

// A flare that the store has archived is no fault of the path, also if it is the
// only one.
func TestArchivedFlare(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		x := &broken{Bucket: w.bucket, kind: bucket.Denied, code: "InvalidObjectState", fails: func(op, key string) bool {
			return op == "get" && key == "f/"+id+".age"
		}}
		w.set.Bucket = x
		l := w.run(time.Hour - time.Minute)
		require.Equal(t, 1, x.struck)
		require.NoError(t, l.Snapshot().PathError)
		require.Equal(t, []string{"waiting unreadable"}, w.states())
	})
}
