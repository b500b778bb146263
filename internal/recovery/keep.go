package recovery

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

const (
	maxReads    = 500     // done markers that one pass reads to learn their numbers
	maxRefusals = 10      // of the store to hand out one of them
	maxSweeps   = 1000    // old done markers that one pass removes
	maxOld      = 100_000 // old done markers that are remembered until they are removed
	maxSeq      = 1e15    // numbers from here are nobody's: an agent that counts flares never gets there
)

// keeper is the housekeeping of a Loop: what lies about under the prefix, how full
// quarantine is, which markers are old, which numbers of flares are missing. Owned
// by Run.
type keeper struct {
	next        time.Time         // of counting
	untouched   map[string]int    // objects that are never touched, at the last listing, by reason
	quarantined int64             // bytes
	old         map[string]bool   // ids of markers to remove, unless their flare is listed
	unswept     int               // how many could not be removed since they were counted
	shared      bool              // other processes write markers, too
	listed      bool              // markers were, and not all of them are read
	unread      []string          // ids of markers another process wrote
	refusals    int               // of the store, of the first of unread
	known       map[string]string // ids of markers: the boot each belongs to, "" if it could not be read
	boots       map[string]*seqs  // by principal and boot
}

func newKeeper() keeper {
	return keeper{untouched: map[string]int{}, old: map[string]bool{}, known: map[string]string{}, boots: map[string]*seqs{}}
}

// seqs are the numbers of one boot's flares.
type seqs struct {
	first, last uint64
	known       map[uint64]bool // true: taken; false: given up by the agent itself
	markers     int             // in done/; with the last one the boot is forgotten

	// last when all markers had been read for the latest time, and for the one before.
	// What is missing below sure is not just on its way by another process.
	before, sure uint64

	agent    string           // principal and claimed name
	from, to time.Time        // when its flares were made; zero if no marker says so
	lost     map[string]int64 // items by signal, the latest that it reported
}

// learn adds what a marker says.
func (k *keeper) learn(m marker) {
	name := m.Principal + "\n" + m.BootID
	s := k.boots[name]
	if s == nil {
		s = &seqs{first: maxSeq, known: map[uint64]bool{}, agent: m.Principal + "\n" + m.Agent, lost: map[string]int64{}}
		k.boots[name] = s
	}
	if k.known[m.FlareID] == "" {
		k.known[m.FlareID] = name
		s.markers++
	}
	s.span(m)
	if m.Seq >= maxSeq {
		return
	}
	s.first, s.last = min(s.first, m.Seq), max(s.last, m.Seq)
	s.known[m.Seq] = true
	for _, u := range m.Unresolved {
		if !s.known[u] {
			s.known[u] = false
		}
	}
}

// span notes when a flare of the boot was made, and what it says was lost.
func (s *seqs) span(m marker) {
	for signal, n := range m.Lost {
		s.lost[signal] = max(s.lost[signal], min(n, maxSeq))
	}
	if m.Created == nil {
		return
	}
	at := m.Created.Time
	if s.from.IsZero() || at.Before(s.from) {
		s.from = at
	}
	if at.After(s.to) {
		s.to = at
	}
}

// unlearn forgets a marker that is not there any more.
func (k *keeper) unlearn(id string) {
	if s := k.boots[k.known[id]]; s != nil {
		if s.markers--; s.markers == 0 {
			delete(k.boots, k.known[id])
		}
	}
	delete(k.known, id)
}

// read notes that all markers of a listing were read.
func (k *keeper) read() {
	k.listed = false
	for _, s := range k.boots {
		s.sure, s.before = s.before, s.last
	}
}

// end returns the last number of a boot up to which others may be called missing.
func (k *keeper) end(s *seqs) uint64 {
	if k.shared {
		return s.sure
	}
	return s.last
}

// Numbers is what the numbers in flares tell, over the boots in done/.
type Numbers struct {
	AllRead      bool  // every marker that was listed; before that the rest is zero
	SeqGaps      int64 // flares whose number is missing between others of the same boot
	Unresolved   int64 // flares that agents gave up on and that never came
	ReportedLost int64 // items that agents say they lost
	Clones       int64 // agents that two boots tell of at the same time
}

func (k *keeper) tally() Numbers {
	n := Numbers{AllRead: true, SeqGaps: k.gaps(), Clones: k.clones()}
	n.Unresolved, n.ReportedLost = k.missing()
	return n
}

// gaps counts the numbers missing between the first and the last known of each
// boot: flares that were lost, deleted by a stranger, or still wait.
func (k *keeper) gaps() int64 {
	var sum int64
	for _, s := range k.boots {
		last := k.end(s)
		if last < s.first {
			continue // no number that counts
		}
		n := int64(last - s.first + 1) //nolint:gosec // below maxSeq
		for seq := range s.known {
			if s.first <= seq && seq <= last {
				n--
			}
		}
		sum = min(sum+n, maxSeq)
	}
	return sum
}

// keep counts quarantine and old markers once an hour, and removes some of those
// and reads some markers of earlier processes in every pass.
func (l *Loop) keep(ctx context.Context) error {
	k := &l.keeping
	l.sweep(ctx) // before new ones are found: first a whole listing must not hold their flares
	if now := time.Now(); !now.Before(k.next) {
		if err := l.countQuarantine(ctx); err != nil {
			return err
		}
		if err := l.listMarkers(ctx); err != nil {
			return err
		}
		k.next = now.Add(housekeeping)
	}
	l.readMarkers(ctx)
	if len(k.unread) == 0 { // else what seems to be missing may stand in the next one
		if k.listed {
			k.read()
		}
		numbers := k.tally()
		l.update(func(s *Snapshot) { s.Numbers = numbers })
	}
	if keys := l.keys; keys != nil {
		l.update(func(s *Snapshot) { s.enrol(keys) })
	}
	return nil
}

func (l *Loop) countQuarantine(ctx context.Context) error {
	var sum int64
	err := l.each(ctx, l.s.StatePrefix+"quarantine/", func(info bucket.Info, _ time.Time) { sum += info.Size })
	if err == nil {
		l.keeping.quarantined = sum
	}
	return err
}

// listMarkers finds the done markers of other processes, and those that outlived
// every flare they could keep out: a copy of such a flare is stale by its creation
// time. Ages are told by the store's clock alone.
func (l *Loop) listMarkers(ctx context.Context) error {
	k := &l.keeping
	prefix := l.s.StatePrefix + "done/"
	gone := maps.Clone(k.known)
	k.unread, k.unswept = k.unread[:0], 0
	var oldest time.Time // that a marker may be
	err := l.each(ctx, prefix, func(info bucket.Info, now time.Time) {
		oldest = now.Add(-l.s.MaxAge - markerGrace)
		id := strings.TrimPrefix(info.Key, prefix)
		_, known := k.known[id]
		delete(gone, id)
		switch {
		case info.LastModified.Before(oldest):
			if len(k.old) < maxOld {
				k.old[id] = true
			}
		case frame.IsHex32(id) && !known:
			k.unread = append(k.unread, id)
		}
	})
	if err != nil {
		return err
	}
	for id := range gone {
		k.unlearn(id)
	}
	k.listed = true
	l.update(func(s *Snapshot) { s.drillsSince(oldest) })
	return nil
}

// sweep removes old markers whose flares were not listed since they were found:
// a flare that could not be deleted is kept out as long as it is there. A marker
// that cannot be removed is left to the next hour, and stops nothing else.
// crash here: the next process finds them again.
func (l *Loop) sweep(ctx context.Context) {
	k := &l.keeping
	n := 0
	for id := range k.old {
		if n++; n > maxSweeps {
			return
		}
		delete(k.old, id)
		if _, err := l.bucket.Delete(ctx, l.s.doneKey(id)); err != nil {
			k.unswept++
			break // others have time; a call may last long
		}
		k.unlearn(id)
	}
	l.update(func(s *Snapshot) { s.count(Stuck, string(StepSweep), k.unswept-s.Stuck[string(StepSweep)]) })
}

// readMarkers learns numbers from markers of earlier processes. They serve a
// metric only, so what cannot be read is left out for an hour; but what a busy store
// does not hand out is asked for in ten passes.
func (l *Loop) readMarkers(ctx context.Context) {
	k := &l.keeping
	keys := l.keys
	if keys == nil {
		return
	}
	for range min(maxReads, len(k.unread)) {
		id := k.unread[0]
		data, _, err := l.bucket.Get(ctx, l.s.doneKey(id), bucket.GetOptions{Limit: maxMarker})
		switch kind := bucket.KindOf(err); {
		case err == nil:
			k.known[id] = ""
			l.readMarker(data, keys)
		case kind == bucket.Unknown || kind == bucket.Unreachable || kind == bucket.Throttled:
			if k.refusals++; k.refusals < maxRefusals {
				return
			}
		}
		k.unread, k.refusals = k.unread[1:], 0
	}
}

func (l *Loop) readMarker(data []byte, keys *Keys) {
	var m marker
	var err error
	l.outside(func() { m, err = openMarker(data, keys.Identities) })
	if err != nil {
		return
	}
	l.keeping.learn(m)
	if m.Reason == flare.Drill && m.Created != nil {
		l.update(func(s *Snapshot) { s.drilled(m.Principal, m.Created.Time) })
	}
}
