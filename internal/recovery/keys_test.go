package recovery

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
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
