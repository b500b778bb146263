package recovery

import (
	"maps"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// Snapshot is the state of a Loop at one instant. Counters count since the
// process started.
type Snapshot struct {
	Pending       int           // flares that are neither waiting nor stuck
	OldestPending time.Duration // by the store's clock, at LastPass
	LastPass      time.Time     // when the bucket was last listed to the end; zero before that
	PathError     error         // nil while bucket and gateway take part
	Shards        int           // of 16, that this process works on; 0 without Lease

	RecoveredFlares, RecoveredItems, RecoveredBytes int64

	RejectedItems int64                // items a server refused by partial success
	Waiting       map[string]int       // now, by reason
	Stuck         map[string]int       // now, by step
	Quarantined   map[string]int64     // by reason
	Flares        map[FlareKind]int64  // verified and settled
	Drills        map[string]time.Time // by principal: when its last drill was made; zero for enrolled ones without
	DrillCount    int64
	Opened        map[string]int64 // by the name of the identity that opened a flare
	SeqGaps       int64            // flares whose number is missing between others of the same boot
	Unresolved    int64            // flares that agents gave up on and that never came
	ReportedLost  int64            // items that agents say they lost, over the boots in done/
	Clones        int64            // agents that two boots tell of at the same time

	Flaring   int        // agents that flared since the process started; drills are no flares here
	Top       []Sighting // of them, the 20 with most flares
	Outbreaks []Outbreak // of them, by cause, the most agents first

	agents map[string]*Sighting // by principal
}

// FlareKind says whose flares they are and why they were made.
type FlareKind struct {
	Tenant string
	Reason flare.Reason
	Cause  string // named most often in the report; none if it names none, other for an unknown word
}

// Snapshot returns a copy of the current state. It may be called at any time
// from any goroutine.
func (l *Loop) Snapshot() Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.snap
	s.Waiting, s.Stuck = maps.Clone(s.Waiting), maps.Clone(s.Stuck)
	s.Quarantined, s.Flares, s.Drills = maps.Clone(s.Quarantined), maps.Clone(s.Flares), maps.Clone(s.Drills)
	s.Opened = maps.Clone(s.Opened)
	s.summarise()
	s.agents = nil
	return s
}

func newSnapshot() Snapshot {
	return Snapshot{
		Waiting: map[string]int{}, Stuck: map[string]int{}, Quarantined: map[string]int64{},
		Flares: map[FlareKind]int64{}, Drills: map[string]time.Time{},
		Opened: map[string]int64{}, agents: map[string]*Sighting{},
	}
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

// add counts an event that ends a flare.
func (s *Snapshot) add(e Event) {
	switch e.State {
	case Recovered:
		s.RecoveredFlares++
		s.RecoveredBytes += e.Bytes
	case Drilled:
		s.DrillCount++
		s.drilled(e.Principal, e.Created)
	case Quarantined:
		s.Quarantined[e.Reason]++
	default:
		return
	}
	if e.Principal != "" {
		s.Flares[FlareKind{Tenant: flare.Tenant(e.Principal), Reason: e.Why, Cause: e.Cause}]++
		s.sight(e)
	}
}

// update changes the snapshot under its lock.
func (l *Loop) update(change func(*Snapshot)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.snap)
}

// tell reports an event, and counts it if it ends a flare.
func (l *Loop) tell(e Event) {
	l.update(func(s *Snapshot) { s.add(e) })
	if l.s.Observer.Flare != nil {
		l.s.Observer.Flare(e)
	}
}

// opened counts which identity opened a flare, so that an old one can be retired.
func (l *Loop) opened(keys *Keys, identity int) {
	if identity >= 0 && identity < len(keys.Names) {
		l.update(func(s *Snapshot) { s.Opened[keys.Names[identity]]++ })
	}
}
