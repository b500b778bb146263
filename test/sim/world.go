package sim

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// World is one run: its seed, its clock, and what lives in it. It belongs to
// one testing/synctest bubble.
type World struct {
	seed   uint64
	keys   *Keys
	begin  time.Time
	end    time.Time // of the agents' work
	over   time.Time // from here on everything works
	oracle *Oracle
	rests  *rests

	gateway  *gateway
	inner    *gateway // the listener for recoveries
	stores   []*store
	keyFiles []spell // the weather of the agents' key files
	safe     bool    // stores and key files work, and agents have room: nothing may be lost

	mu sync.Mutex
	// mu guards the following.
	tally    map[string]int64
	events   []string
	failures []string
}

// maxFailures bounds what a run tells: the first failures matter.
const maxFailures = 12

// failf notes that something is not as it must be.
func (w *World) failf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.failures) < maxFailures {
		w.failures = append(w.failures, fmt.Sprintf("%s: ", time.Since(w.begin))+fmt.Sprintf(format, args...))
	}
}

// count adds to a line of the table of what happened.
func (w *World) count(name string, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally[name] += n
}

// happened counts an event and writes it down. Events of one instant may come in
// any order.
func (w *World) happened(name string, what ...any) {
	event := fmt.Sprintf("%019d %s: %v", time.Since(w.begin), name, what)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tally[name]++
	w.events = append(w.events, event)
}

// dice returns the randomness of one thing. It depends on the seed and the name
// of the thing alone.
func (w *World) dice(thing ...any) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, hash(thing))) //nolint:gosec // a seed is what it is for
}

// id returns the n-th id that somebody draws.
func (w *World) id(who string, n int) string {
	r := w.dice("id", who, n)
	return fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
}

func hash(parts []any) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintln(h, parts...) // a hash takes everything
	return h.Sum64()
}

// between draws a duration. Down to the nanosecond, so that hardly two things
// happen in the same instant.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// chance reports true once in n times.
func chance(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// pick draws one of the list.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// course is how one call at an edge goes.
type course struct {
	before time.Duration // until the effect, or until nothing happens
	effect bool
	hang   bool          // the answer never comes
	after  time.Duration // from the effect to the answer
	wire   bool          // if the caller gives up before the effect: it happens all the same
	close  bool          // if the caller gives up after it: the answer comes in that very moment
	lag    time.Duration // how long the caller's client takes to give up; callers that give up at once must not race
}

// pass lets a call take its course. Done reports whether effect was called,
// answered whether the caller learns of the answer. A caller whose process is
// dead learns nothing.
func (c course) pass(ctx context.Context, dead <-chan struct{}, effect func()) (done, answered bool) {
	waited := wait(ctx, dead, c.before)
	if done = c.effect && (waited || c.wire); done {
		effect()
	}
	if waited && c.hang {
		wait(ctx, dead, 1000*time.Hour)
		pause(dead, c.lag)
		return done, false
	}
	if waited && wait(ctx, dead, c.after) {
		return done, true
	}
	pause(dead, c.lag)
	return done, done && c.close && !c.hang && !closed(dead)
}

// pause lets the time pass, unless stop is closed before.
func pause(stop <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}

// wait lets the time pass. It reports false if the caller gave up or died.
func wait(ctx context.Context, dead <-chan struct{}, d time.Duration) bool {
	if ctx.Err() != nil || closed(dead) {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-dead:
	}
	return false
}

// locked is a source of randomness for concurrent callers.
type locked struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (l *locked) float() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Float64()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// add adds the counts of one table to another.
func add(to, from map[string]int64) {
	for name, n := range from {
		to[name] += n
	}
}

func sorted(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) }
