package recovery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// A trust file that changes while a flare is fetched has the flare looked at again
// at once, also if somebody else has seen the new file before the flare was judged
// by the old one.
func TestKeysThatChangeWhileAFlareIsFetched(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.trust("globex/db-1")
		var mu sync.Mutex
		w.set.Keys = func() *Keys {
			mu.Lock()
			defer mu.Unlock()
			return w.keys
		}
		w.set.Lease = true // renewals look at the keys, too
		x := &wire{w: w}
		slow := true
		x.pause = func(op, key string) {
			if op == "get" && key == flare.Key("f/", id) && slow {
				slow = false
				mu.Lock()
				w.trust("globex/db-1", "acme/host-17")
				mu.Unlock()
				time.Sleep(leaseRenew + 10*time.Second)
			}
		}
		w.set.Bucket = x
		w.run(5 * time.Minute)
		require.False(t, slow, "the fault never struck")
		require.Equal(t, []string{"waiting unknown_signer", "recovered"}, w.states())
	})
}

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

// A process that starts with many markers in done/ says nothing of missing flares
// before it has read them all, and none is missing because the store was busy.
func TestNoFlareIsMissingBeforeAllMarkersAreRead(t *testing.T) {
	inWorld(t, func(w *world) {
		for range maxReads + 50 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		}
		w.run(10 * time.Minute)
		require.Len(t, w.under("lifeline/done/"), maxReads+50)
		x := &broken{Bucket: w.bucket, kind: bucket.Throttled}
		x.fails = func(op, key string) bool {
			return op == "get" && strings.HasPrefix(key, "lifeline/done/") && !isProbe(key) && x.struck < 3
		}
		w.set.Bucket = x
		l := New(w.set)
		for range 10 {
			w.resume(l, time.Second)
			require.Zero(t, l.Snapshot().SeqGaps)
			w.resume(l, time.Minute)
			require.Zero(t, l.Snapshot().SeqGaps)
		}
		require.Equal(t, 3, x.struck)
	})
}

// A marker that the store never hands out ends no count of the others.
func TestAMarkerThatIsNeverHandedOut(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 3 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		}
		w.run(time.Minute)
		lost := w.under("lifeline/done/")[1]
		x := &broken{Bucket: w.bucket, kind: bucket.Unknown, fails: func(op, key string) bool {
			return op == "get" && key == "lifeline/done/"+lost
		}}
		w.set.Bucket = x
		l := New(w.set)
		w.resume(l, 30*time.Minute)
		require.Equal(t, maxRefusals, x.struck)
		require.True(t, l.Snapshot().AllRead)
	})
}

// What was forwarded is written down also when Run is told to stop just then, before
// or after the store has done it, and is no trouble to tell.
func TestStoppedBetweenAckAndMarker(t *testing.T) {
	for _, prefix := range []string{"lifeline/done/", "f/"} {
		for name, when := range map[string]moment{"before": before, "after": hang} {
			t.Run(prefix+" "+name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
					ctx, cancel := context.WithCancel(w.t.Context())
					defer cancel()
					x := &wire{w: w, when: when, left: 1, match: func(_ int, op, key string) bool {
						return op != "get" && strings.HasPrefix(key, prefix+id)
					}}
					if when == before {
						match := x.match
						x.match = nil
						x.pause = func(op, key string) {
							if match(0, op, key) {
								x.struck++
								cancel()
							}
						}
					}
					w.set.Bucket = x
					l := New(w.set)
					var loop sync.WaitGroup
					loop.Go(func() { l.Run(ctx) })
					time.Sleep(time.Second)
					cancel()
					loop.Wait()
					require.Positive(t, x.struck, "the fault never struck")
					require.Equal(t, []string{"recovered"}, w.states())
					require.Empty(t, w.under("f/"))
					require.Equal(t, []string{id}, w.under("lifeline/done/"))
					require.NoError(t, l.Snapshot().PathError)
				})
			})
		}
	}
}

// A marker that was left behind does not hide that processes die.
func TestDeadlyBesideAnOldMarker(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.put("lifeline/try/"+id+".2", nil)
		for range maxTries {
			x := &wire{w: w, dies: true, left: 1, match: func(_ int, op, key string) bool { return op == "get" && key == flare.Key("f/", id) }}
			w.set.Bucket = x
			w.run(time.Second)
		}
		w.set.Bucket = w.bucket
		w.run(time.Minute)
		require.Equal(t, []string{"quarantined poison"}, w.states())
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

// The path's trouble is told again when its cause is another one: the first may be gone.
func TestAnotherTroubleOfThePath(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		answer := down()
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer { return answer }
		l := New(w.set)
		w.resume(l, 10*time.Minute)
		require.Len(t, w.paths, 1)
		answer = otlpsend.Answer{Verdict: otlpsend.Broken, Cause: otlpsend.CauseAuth, Err: errors.New("status 401")}
		w.resume(l, 10*time.Minute)
		require.Len(t, w.paths, 2)
		require.ErrorContains(t, w.paths[1], "status 401")

		x := &broken{Bucket: w.bucket, kind: bucket.Throttled, code: "SlowDown", fails: func(op, _ string) bool { return op == "put" }}
		w.set.Bucket = x
		l = New(w.set)
		w.resume(l, 10*time.Minute)
		x.kind, x.code = bucket.Denied, "AccessDenied"
		w.resume(l, 10*time.Minute)
		require.Len(t, w.paths, 4)
		require.ErrorContains(t, w.paths[3], "AccessDenied")
	})
}

// Flares that waited for a key file are taken as fast as others once it has come,
// however many they are.
func TestAFleetEnrolledLate(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 5 * maxRelooks {
			w.flare("acme/late", w.logs("acme/late", 1, "x"))
		}
		l := New(w.set)
		w.resume(l, time.Minute)
		require.Equal(t, map[string]int{"unknown_signer": 5 * maxRelooks}, l.Snapshot().Waiting)
		w.trust("acme/late")
		w.resume(l, time.Second)
		require.EqualValues(t, 5*maxRelooks, l.Snapshot().RecoveredFlares)
	})
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

// However often a process opens a flare and cannot remove its markers, it leaves one.
func TestOneMarkerOfAProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.put("lifeline/try/"+id+".2", nil)
		opened := 0
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
			opened++
			return down()
		}
		x := &broken{Bucket: w.bucket, kind: bucket.Unknown, fails: func(op, key string) bool {
			return op == "delete" && strings.HasPrefix(key, "lifeline/try/"+id)
		}}
		w.set.Bucket = x
		w.run(10 * time.Minute)
		require.Greater(t, opened, 10)
		require.Greater(t, x.struck, 10)
		require.Len(t, w.under("lifeline/try/"), 2, "the old one, and its own")

		w.set.Bucket, w.gateway.answer = w.bucket, nil
		w.run(time.Minute)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Empty(t, w.under("lifeline/try/"))
	})
}

// A look at a flare that the bucket cut short was none: after a change of the trust file
// the next pass looks again.
func TestALookCutShortIsNone(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.trust("globex/db-1")
		x := &broken{Bucket: w.bucket, kind: bucket.Unreachable}
		x.fails = func(op, key string) bool { return len(w.trusted) == 2 && strings.HasSuffix(key, id) && x.struck == 0 }
		w.set.Bucket = x
		l := New(w.set)
		w.resume(l, time.Minute)
		w.trust("globex/db-1", "acme/host-17")
		w.resume(l, 2*time.Minute)
		require.Equal(t, 1, x.struck)
		require.Equal(t, []string{"waiting unknown_signer", "recovered"}, w.states())
	})
}
