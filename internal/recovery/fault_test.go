package recovery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// calls are the remote calls of a recovery, one row of the fault table each.
var calls = []struct{ name, op, key string }{
	{"list flares", "list", "f/"},
	{"list tries", "list", "lifeline/try/"},
	{"list markers", "list", "lifeline/done/"},
	{"list quarantine", "list", "lifeline/quarantine/"},
	{"put probe", "put", "lifeline/done/probe-"},
	{"get probe", "get", "lifeline/done/probe-"},
	{"delete probe", "delete", "lifeline/done/probe-"},
	{"put quarantine probe", "put", "lifeline/quarantine/probe"},
	{"get quarantine probe", "get", "lifeline/quarantine/probe"},
	{"put try probe", "put", "lifeline/try/probe"},
	{"delete try probe", "delete", "lifeline/try/probe"},
	{"delete flare probe", "delete", "f/probe-"},
	{"get marker", "get", "lifeline/done/"},
	{"put try", "put", "lifeline/try/"},
	{"get flare", "get", "f/"},
	{"delete try", "delete", "lifeline/try/"},
	{"forward", "forward", ""},
	{"copy", "copy", "f/"},
	{"put marker", "put", "lifeline/done/"},
	{"delete flare", "delete", "f/"},
}

var moments = map[moment]string{before: "before", after: "after", hang: "hangs"}

// The fault table: every remote call fails before or after its effect, or hangs,
// once or for a while. The same process then brings every record to Kafka,
// exactly once unless the outcome of a forward was unknown.
func TestFaults(t *testing.T) {
	for _, c := range calls {
		for when, name := range moments {
			for _, times := range []int{1, 4} {
				t.Run(fmt.Sprintf("%s/%s/%d", c.name, name, times), func(t *testing.T) {
					inWorld(t, func(w *world) {
						s := w.scene()
						x := &wire{w: w, when: when, left: times, match: func(_ int, op, key string) bool {
							return op == c.op && strings.HasPrefix(key, c.key) && isProbe(key) == isProbe(c.key)
						}}
						w.set.Bucket, w.set.Gateway.Transport = x, x
						l := w.run(time.Hour)
						require.Positive(t, x.struck, "the fault never struck")
						w.settled(s, l)
						for _, f := range s.forwarded {
							n := w.gateway.got[f.BatchID]
							if c.op == "forward" && when != before {
								require.LessOrEqual(t, n, 1+times)
							} else {
								require.Equal(t, 1, n)
							}
						}
					})
				})
			}
		}
	}
}

func isProbe(key string) bool { return strings.Contains(key, "probe") }

// The process dies at every call it makes, before and after the effect, with one
// flare at a time and with several. The next process brings every record to
// Kafka, and nothing is deleted too early.
func TestCrashAtEveryCall(t *testing.T) {
	for _, width := range []int{1, 8} {
		clean := 0
		inWorld(t, func(w *world) {
			w.set.Flares, w.set.Gateway.Senders = width, width
			w.scene()
			x := &wire{w: w}
			w.set.Bucket, w.set.Gateway.Transport = x, x
			w.run(time.Second)
			clean = x.calls
		})
		require.Greater(t, clean, 35)
		for n := 1; n <= clean; n++ {
			for _, when := range []moment{before, after} {
				inWorld(t, func(w *world) {
					w.set.Flares, w.set.Gateway.Senders = width, width
					w.diesAt(n, when)
				})
			}
		}
	}
}

// diesAt lets a process die at its n-th call, and another one go on.
func (w *world) diesAt(n int, when moment) {
	s := w.scene()
	x := &wire{w: w, when: when, left: 1, dies: true, match: func(call int, _, _ string) bool { return call == n }}
	w.set.Bucket, w.set.Gateway.Transport = x, x
	w.run(time.Second)
	require.True(w.t, x.dead, "the process did not die at call %d", n)

	w.set.Bucket, w.set.Gateway.Transport = w.bucket, w.gateway
	w.settled(s, w.run(10*time.Minute))
	for _, f := range s.forwarded {
		require.LessOrEqual(w.t, w.gateway.got[f.BatchID], 2)
	}
}

// settled asserts the end that every run of a scene must reach.
func (w *world) settled(s scene, l *Loop) {
	w.t.Helper()
	for _, f := range s.forwarded {
		require.Positive(w.t, w.gateway.got[f.BatchID], "%s never reached Kafka", f.BatchID)
	}
	require.Len(w.t, w.gateway.got, len(s.forwarded))
	w.onlyOurs()
	require.Empty(w.t, w.under("f/"))
	require.Empty(w.t, w.under("lifeline/try/"))
	want := slices.Sorted(slices.Values(s.signed))
	require.Equal(w.t, want, slices.DeleteFunc(w.under("lifeline/done/"), isProbe))
	require.Equal(w.t, []string{
		"malformed/" + s.garbage + ".age", "probe", "rejected/" + s.rejected + ".age",
	}, w.under("lifeline/quarantine/"))
	snap := l.Snapshot()
	require.Zero(w.t, snap.Pending)
	require.Empty(w.t, snap.Waiting)
	require.Empty(w.t, snap.Stuck)
	require.NoError(w.t, snap.PathError)
}

// A flare that kills every process that opens it is put away unopened after
// three; one that merely met processes that were stopped is not.
func TestPoison(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "deadly"))
		for n := range 3 {
			x := &wire{w: w, when: after, left: 1, dies: true, match: func(_ int, op, key string) bool {
				return op == "get" && strings.HasPrefix(key, "f/")
			}}
			w.set.Bucket, w.set.Gateway.Transport = x, x
			w.run(time.Second)
			require.True(t, x.dead)
			require.Len(t, w.under("lifeline/try/"), n+1)
		}
		w.set.Bucket, w.set.Gateway.Transport = w.bucket, w.gateway
		w.run(2 * time.Minute)
		require.Equal(t, []string{"quarantined poison"}, w.states())
		require.Equal(t, []string{"poison/" + id + ".age", "probe"}, w.under("lifeline/quarantine/"))
		require.Empty(t, w.under("lifeline/done/"))
		require.Empty(t, w.under("lifeline/try/"))
		require.Empty(t, w.gateway.requests)
	})
}

func TestStoppedIsNotDead(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 1, "slow")
		w.flare("acme/host-17", f)
		for range 5 {
			x := &wire{w: w, when: hang, left: 1, match: func(_ int, op, key string) bool {
				return op == "get" && strings.HasPrefix(key, "f/")
			}}
			w.set.Bucket, w.set.Gateway.Transport = x, x
			w.run(time.Second) // stopped while it opens the flare
			require.Equal(t, 1, x.struck)
			require.Empty(t, w.under("lifeline/try/"))
		}
		w.set.Bucket, w.set.Gateway.Transport = w.bucket, w.gateway
		w.run(time.Second)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// A try marker that cannot be removed does not make a living process look dead.
func TestTryThatStays(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 1, "kept")
		w.flare("acme/host-17", f)
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer { return down() }
		x := &wire{w: w, when: before, left: 1 << 30, match: func(_ int, op, key string) bool {
			return op == "delete" && strings.HasPrefix(key, "lifeline/try/") && !isProbe(key)
		}}
		w.set.Bucket = x
		l := New(w.set)
		w.resume(l, time.Hour)
		require.Greater(t, len(w.gateway.requests), maxTries)
		require.Greater(t, x.struck, maxTries)
		require.Len(t, w.under("lifeline/try/"), 1)
		x.match, w.gateway.answer = nil, nil
		w.resume(l, 2*time.Minute)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Empty(t, w.under("lifeline/try/"))
	})
}

// What a full bucket, a lost right or a legal hold does: the flare is stuck,
// shown, and never forwarded again by this process.
func TestStuck(t *testing.T) {
	for _, c := range []struct{ op, key, step string }{
		{"put", "lifeline/done/", "marker"},
		{"delete", "f/", "delete"},
	} {
		t.Run(c.step, func(t *testing.T) {
			inWorld(t, func(w *world) {
				first := w.logs("acme/host-17", 1, "first")
				w.flare("acme/host-17", first)
				x := &wire{w: w, when: before, left: 1 << 30, match: func(_ int, op, key string) bool {
					return op == c.op && strings.HasPrefix(key, c.key) && !isProbe(key)
				}}
				w.set.Bucket, w.set.Gateway.Transport = x, x
				l := New(w.set)
				w.resume(l, time.Hour)
				require.Positive(t, x.struck)
				require.Equal(t, map[string]int{c.step: 1}, l.Snapshot().Stuck)
				require.Equal(t, []string{"stuck " + c.step}, w.states())
				require.Len(t, w.gateway.requests, 1)

				x.match = nil
				w.resume(l, time.Minute)
				require.Equal(t, []string{"stuck " + c.step, "recovered"}, w.states())
				require.Empty(t, l.Snapshot().Stuck)
				require.Len(t, w.gateway.requests, 1)
				require.Empty(t, w.under("f/"))
			})
		})
	}
}

// Recovery that may not write its notes forwards nothing at all.
func TestRightsAreProvenFirst(t *testing.T) {
	for _, right := range []struct{ op, key string }{
		{"put", "lifeline/done/probe-"},
		{"get", "lifeline/done/probe-"},
		{"delete", "lifeline/done/probe-"},
		{"put", "lifeline/quarantine/probe"},
		{"get", "lifeline/quarantine/probe"},
		{"put", "lifeline/try/"},
		{"delete", "lifeline/try/"},
		{"delete", "f/"},
	} {
		t.Run(right.op+" "+right.key, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.flare("acme/host-17", w.logs("acme/host-17", 1, "safe"))
				x := &wire{w: w, when: before, left: 1 << 30, match: func(_ int, op, key string) bool {
					return op == right.op && strings.HasPrefix(key, right.key)
				}}
				w.set.Bucket = x
				l := w.run(time.Hour)
				require.Greater(t, x.struck, 1)
				require.Empty(t, w.gateway.requests)
				require.Equal(t, 1, l.Snapshot().Pending)
				require.ErrorContains(t, l.Snapshot().PathError, "state_prefix")
				require.Len(t, w.paths, 1)
				require.NotContains(t, w.bucket.Calls(), bucket.Call{Op: "get", Key: w.bucket.Keys()[0], Effect: true})
			})
		})
	}
}

// A gateway that hangs, says no, or is somebody else moves no flare, and is
// asked again within half a minute.
func TestPathAnswers(t *testing.T) {
	for _, v := range []otlpsend.Verdict{otlpsend.Down, otlpsend.Broken} {
		t.Run(v.String(), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.flare("acme/host-17", w.logs("acme/host-17", 1, "kept"))
				var at []time.Time
				w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
					at = append(at, time.Now())
					return otlpsend.Answer{Verdict: v, Err: fmt.Errorf("no")}
				}
				w.run(time.Hour)
				require.Greater(t, len(at), 100)
				for i := 1; i < len(at); i++ {
					require.LessOrEqual(t, at[i].Sub(at[i-1]), maxBackoff)
				}
				require.Len(t, w.under("f/"), 1)
				require.Empty(t, w.events)
			})
		})
	}
}

// RetryAfter is a floor under the pause.
func TestRetryAfter(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "kept"))
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
			return otlpsend.Answer{Verdict: otlpsend.Down, RetryAfter: 2 * time.Minute, Err: fmt.Errorf("later")}
		}
		w.run(20 * time.Minute)
		require.LessOrEqual(t, len(w.gateway.requests), 10)
		require.GreaterOrEqual(t, len(w.gateway.requests), 4)
	})
}

// drill stores a drill; change may turn its telemetry into something else.
func (w *world) drill(change func(f *frame.Frame)) string {
	const agent = "acme/host-17"
	f := w.frameOf(agent, drillLogs())
	if change != nil {
		change(&f)
	}
	m, data := w.seal(agent, func(m *flare.Manifest) { m.Reason = flare.Drill }, f)
	w.put("f/"+m.FlareID+".age", data)
	delete(w.ours, f.BatchID) // must never be forwarded
	return m.FlareID
}

// rejected stores a flare of parked frames.
func (w *world) rejected(agent string) string {
	f := w.logs(agent, 1, "bad data")
	m, data := w.seal(agent, func(m *flare.Manifest) { m.Reason = flare.Rejected }, f)
	w.put("f/"+m.FlareID+".age", data)
	delete(w.ours, f.BatchID)
	return m.FlareID
}
