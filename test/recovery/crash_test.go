package recovery

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
)

// scene is one flare of every kind in the bucket of a rig.
type scene struct {
	*rig
	good, drill, rejected, garbage string // ids
}

// newScene stores a flare of three records, the last of which the gateway takes
// only in halves, a drill, a flare of rejected data and one that is none.
func newScene(t *testing.T) *scene {
	s := &scene{rig: newRig(t), garbage: frame.RandomHex()}
	a := s.agent("acme/host-17")
	s.write("allowed_signers", a.trust())
	small, large := a.logs(2), a.logs(12)
	s.sink.answer = func(w http.ResponseWriter, raw []byte) bool {
		if int64(len(raw)) < large.RawSize {
			return false
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	}
	s.good = a.flare(flare.Expired, small, a.logs(1), large)
	s.drill = a.flare(flare.Drill, a.drill())
	s.rejected = a.flare(flare.Rejected, a.logs(1))
	s.put(flare.Key("f/", s.garbage), []byte("age-encryption.org/v1\nnot really"))
	return s
}

// TestCrashAtEveryCall kills the process with SIGKILL at every call it makes to
// its bucket and its gateway, before the call has its effect and after it, and
// starts it again. The rows are the calls of a run that nothing happens to.
func TestCrashAtEveryCall(t *testing.T) {
	clean := newScene(t)
	clean.start()
	clean.settled(env.Within(t, 30*time.Second), 0)
	clean.kill()
	calls := clean.tap.calls()
	clean.judge()
	require.Zero(t, clean.sink.row().Duplicates)
	for _, name := range []string{
		"list flare", "list try", "list done", "list quarantine", "get done", "put try", "put split try", "get flare",
		"forward", "put done", "copy flare", "delete flare", "delete try",
	} {
		require.Positive(t, calls[name], "%s is missing in %v", name, calls)
	}
	var copies atomic.Int64
	t.Run("rows", func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(calls)) {
			for n := 1; n <= calls[name]; n++ {
				for _, when := range []moment{before, after} {
					t.Run(fmt.Sprintf("%s/%d/%s", name, n, when), func(t *testing.T) {
						t.Parallel()
						copies.Add(crash(t, name, n, when))
					})
				}
			}
		}
	})
	require.Positive(t, copies.Load(), "a kill between an ack and its marker makes a duplicate")
}

// crash kills the process at one call, starts it again, and returns how many
// records arrived twice.
func crash(t *testing.T, name string, n int, when moment) int64 {
	s := newScene(t)
	ctx := env.Within(t, time.Minute)
	s.dieAt(ctx, n, when, func(c call) bool { return c.name == name })
	s.start()
	s.settled(ctx, 0)
	s.kill()
	s.judge()
	return s.sink.row().Duplicates
}

// TestDeadlyFlare: a flare kills every process that fetches it, as one would that
// needs too much memory. The fourth process puts it away unopened; the flares
// behind it arrive.
func TestDeadlyFlare(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := env.Within(t, time.Minute)
	a := r.agent("acme/host-17")
	r.write("allowed_signers", a.trust())
	deadly, data := a.seal(flare.Rejected, a.logs(1))
	key := flare.Key("f/", deadly)
	r.put(key, data)
	for range 20 {
		a.flare(flare.Expired, a.logs(1))
	}
	for n := range 3 {
		r.dieAt(ctx, 1, after, func(c call) bool { return c.name == "get flare" && c.key == key })
		require.Len(t, r.under("lifeline/try/"+deadly), n+1)
	}
	r.start()
	r.settled(ctx, 0)
	r.kill()
	require.Equal(t, []string{"poison/" + deadly + ".age", "probe"}, r.under("lifeline/quarantine/"))
	require.NotContains(t, r.under("lifeline/done/"), deadly)
	row := r.sink.row()
	require.True(t, row.OK() && row.Duplicates == row.Marked, "%+v", row)
}

// judge asserts the end that every run of the scene must reach, and the order in
// which it was reached.
func (s *scene) judge() {
	t := s.t
	t.Helper()
	row := s.sink.row()
	require.True(t, row.OK(), "%+v", row)
	require.Equal(t, row.Duplicates, row.Marked, "duplicates come with equal batch ids: %+v", row)
	require.Empty(t, s.under("f/"))
	require.Empty(t, s.under("lifeline/try/"))
	markers := slices.DeleteFunc(s.under("lifeline/done/"), isProbe)
	require.ElementsMatch(t, []string{s.good, s.drill, s.rejected}, markers)
	require.Equal(t, []string{"malformed/" + s.garbage + ".age", "probe", "rejected/" + s.rejected + ".age"}, s.under("lifeline/quarantine/"))

	marked, copied, acked := map[string]bool{}, map[string]bool{}, map[string]bool{}
	done, _ := s.tap.effects()
	for _, c := range done {
		switch c.name {
		case "forward":
			require.Equal(t, s.good, c.flare, "only verified telemetry is forwarded")
			require.False(t, marked[c.flare], "forwarded after its marker")
			acked[c.key] = true
		case "put done":
			marked[c.flare] = true
		case "copy flare":
			copied[c.flare] = true
		case "delete flare":
			switch c.flare {
			case s.good:
				require.Len(t, acked, 4, "deleted before all was acked: two records and two halves")
				require.True(t, marked[c.flare], "deleted without a marker")
			case s.rejected:
				require.True(t, marked[c.flare] && copied[c.flare], "deleted without a marker and a copy")
			case s.garbage:
				require.True(t, copied[c.flare], "deleted without a copy")
			}
		}
	}
}

func isProbe(key string) bool { return strings.HasPrefix(key, "probe") }
