package recovery

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/env"
)

// leaseCall is a call about leases that a process dies at.
type leaseCall struct {
	name string
	n    int
	when moment
}

func (c leaseCall) String() string { return fmt.Sprintf("%s/%d/%s", c.name, c.n, c.when) }

// trap sets the trap for c.
func (c leaseCall) trap(r *rig) *trap {
	return r.setTrap(c.n, c.when, func(got call) bool { return got.name == c.name })
}

// newLeased is a scene whose recovery leases its shards.
func newLeased(t *testing.T) *scene {
	s := newScene(t)
	s.lease = true
	return s
}

// refuse lets the gateway take nothing until the returned function is called.
// asked is closed when it has refused for the first time.
func (s *scene) refuse() (asked <-chan struct{}, end func()) {
	var ended atomic.Bool
	var once sync.Once
	first, answer := make(chan struct{}), s.sink.answer
	s.sink.answer = func(w http.ResponseWriter, raw []byte) bool {
		if ended.Load() {
			return answer(w, raw)
		}
		once.Do(func() { close(first) })
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	return first, func() { ended.Store(true) }
}

// takenOver starts another process when the leases of the dead one have expired,
// and asserts that it takes every shard and leaves the end that every run must.
func (s *scene) takenOver(ctx context.Context) {
	t := s.t
	t.Helper()
	before, _ := s.tap.effects()
	s.expireLeases()
	s.start()
	s.settled(ctx, 0)
	s.kill()
	s.judge() //nolint:contextcheck // what the test asks the store ends with the test
	done, _ := s.tap.effects()
	shards := map[string]bool{}
	for _, c := range done[len(before):] {
		if c.name == "put lease" {
			shards[c.key] = true
		}
	}
	require.Len(t, shards, 16, "the next process has every lease")
}

// TestCrashAtEveryLeaseCall kills the process with SIGKILL at the calls with which
// it takes its leases and, told to stop, gives them back, before each has its
// effect and after it. The next process gets the leases when they have expired,
// and everything ends as it does without a crash.
func TestCrashAtEveryLeaseCall(t *testing.T) {
	clean := newLeased(t)
	ctx := env.Within(t, 30*time.Second)
	clean.start()
	clean.settled(ctx, 0)
	require.NoError(t, clean.p.Stop(ctx))
	calls := clean.tap.calls()
	clean.kill()
	clean.judge()
	require.Empty(t, clean.under("lifeline/lease/"), "all was given back")
	t.Run("rows", func(t *testing.T) {
		for _, name := range []string{
			"put presence", "list lease", "put lease", "put lease probe", "get lease probe", "delete lease probe",
			"delete lease", "delete presence",
		} {
			require.Positive(t, calls[name], "%s is missing in %v", name, calls)
			rows := []int{1}
			if last := calls[name]; last > 1 && name != "list lease" { // how often it looks is up to the clock
				rows = append(rows, last) // those between are alike
			}
			for _, n := range rows {
				for _, when := range []moment{before, after} {
					c := leaseCall{name, n, when}
					t.Run(c.String(), func(t *testing.T) {
						t.Parallel()
						crashWithLeases(t, c)
					})
				}
			}
		}
	})
}

func crashWithLeases(t *testing.T, c leaseCall) {
	s := newLeased(t)
	ctx := env.Within(t, time.Minute)
	asked, end := s.refuse()
	trap := c.trap(s.rig)
	s.start()
	if c.name == "delete lease" || c.name == "delete presence" {
		select {
		case <-asked:
		case <-ctx.Done():
			t.Fatal("nothing was forwarded")
		}
		var stop sync.WaitGroup
		defer stop.Wait()
		p := s.p
		stop.Go(func() { _ = p.Stop(ctx) }) // it is killed meanwhile
	}
	s.dieIn(ctx, trap)
	end()
	s.takenOver(ctx)
}

// TestCrashWhileLeasesAreRenewed: as above, at the calls of a renewal, which is
// due after 20 s. All processes wait for it at the same time.
func TestCrashWhileLeasesAreRenewed(t *testing.T) {
	t.Parallel()
	ctx := env.Within(t, 2*time.Minute)
	type row struct {
		*scene
		trap *trap
		end  func()
		c    leaseCall
	}
	var rows []row
	for _, when := range []moment{before, after} {
		for _, c := range []leaseCall{{"put presence", 2, when}, {"list lease", 2, when}, {"put lease", 17, when}, {"put lease", 32, when}} {
			r := row{scene: newLeased(t), c: c}
			_, r.end = r.refuse()
			r.trap = c.trap(r.rig)
			r.start()
			rows = append(rows, r)
		}
	}
	for _, r := range rows {
		t.Log(r.c)
		r.dieIn(ctx, r.trap)
		r.end()
		r.takenOver(ctx)
	}
}

// TestLeasesOfTheDead: what a dead process held is nobody's before its leases have
// expired by the store's clock, whatever the clocks of others say.
func TestLeasesOfTheDead(t *testing.T) {
	t.Parallel()
	s := newLeased(t)
	ctx := env.Within(t, time.Minute)
	s.dieAt(ctx, 1, before, func(c call) bool { return c.name == "forward" })
	left := s.tap.deserted(ctx, t)
	s.start()
	s.tap.await(ctx, t, func(done []call) bool {
		fresh := done[len(left):]
		for _, c := range fresh {
			require.NotEqual(t, "put lease", c.name, "a lease was taken that had not expired")
			require.False(t, strings.HasSuffix(c.name, "flare") && !strings.HasPrefix(c.name, "list"), "%s: without a lease", c)
		}
		return count(fresh, "list lease") >= 3
	})
	s.expireLeases()
	s.settled(ctx, 0)
	s.kill()
	s.judge()
}
