package recovery

import (
	"maps"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// Snapshot is the state of a Loop at one instant.
type Snapshot struct {
	Pending       int            // flares that are neither waiting nor stuck
	OldestPending time.Duration  // by the store's clock, at LastPass
	LastPass      time.Time      // when the bucket was last listed to the end; zero before that
	PathError     error          // nil while bucket and gateway take part
	Shards        int            // of 16, that this process works on; 0 without Lease
	Waiting       map[string]int // by reason
	Stuck         map[string]int // by step

	Settled
	Numbers
	Fleet
}

// Settled counts what became of flares since the process started.
type Settled struct {
	RecoveredFlares, RecoveredItems, RecoveredBytes int64

	RejectedItems int64               // items a server refused by partial success
	DrillCount    int64               // drills that came through
	Quarantined   map[string]int64    // by reason
	Flares        map[FlareKind]int64 // verified and settled
	Opened        map[string]int64    // by the name of the identity that opened a flare
}

// FlareKind says whose flares they are and why they were made.
type FlareKind struct {
	Tenant string
	Reason flare.Reason
	Cause  string // named most often in the report; none if it names none, other for an unknown word
}

// add counts an event that ends a flare.
func (s *Settled) add(e Event) {
	switch e.State {
	case Recovered:
		s.RecoveredFlares++
		s.RecoveredBytes += e.Bytes
	case Drilled:
		s.DrillCount++
	case Quarantined:
		s.Quarantined[e.Reason]++
	default:
		return
	}
	if e.Principal != "" {
		s.Flares[FlareKind{Tenant: flare.Tenant(e.Principal), Reason: e.Why, Cause: e.Cause}]++
	}
}

// counts returns a copy that shares nothing with s.
func (s Settled) counts() Settled {
	s.Quarantined, s.Flares, s.Opened = maps.Clone(s.Quarantined), maps.Clone(s.Flares), maps.Clone(s.Opened)
	return s
}

// count adds n objects to what is in a state now.
func (s *Snapshot) count(state State, reason string, n int) {
	in := map[State]map[string]int{Waiting: s.Waiting, Stuck: s.Stuck}[state]
	if in == nil {
		return
	}
	if in[reason] += n; in[reason] == 0 {
		delete(in, reason)
	}
}

// board is where a Loop shows its state to others. Its methods may be called from
// any goroutine.
type board struct {
	mu   sync.Mutex
	snap Snapshot // guarded by mu
}

func newBoard() board {
	return board{snap: Snapshot{
		Waiting: map[string]int{}, Stuck: map[string]int{},
		Settled: Settled{Quarantined: map[string]int64{}, Flares: map[FlareKind]int64{}, Opened: map[string]int64{}},
		Fleet:   Fleet{Drills: map[string]time.Time{}, agents: map[string]*Sighting{}},
	}}
}

// update changes what is shown.
func (b *board) update(change func(*Snapshot)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.snap)
}

// Snapshot returns a copy of the current state. It may be called at any time
// from any goroutine.
func (b *board) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.snap
	s.Waiting, s.Stuck = maps.Clone(s.Waiting), maps.Clone(s.Stuck)
	s.Settled, s.Fleet = s.counts(), s.summary()
	return s
}

// tell reports an event, and counts it if it ends a flare.
func (l *Loop) tell(e Event) {
	l.update(func(s *Snapshot) {
		s.Settled.add(e)
		s.Fleet.add(e)
	})
	if l.s.Observer.Flare != nil {
		l.s.Observer.Flare(e)
	}
	if e.State == Recovered {
		l.goesOn()
	}
}

// opened counts which identity opened a flare, so that an old one can be retired.
func (l *Loop) opened(keys *Keys, identity int) {
	if identity >= 0 && identity < len(keys.Names) {
		l.update(func(s *Snapshot) { s.Opened[keys.Names[identity]]++ })
	}
}
