package recovery

import (
	"encoding/hex"
	"slices"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// What a principal says of itself is bounded, so that none can use up the memory, or
// hide in sums what others say.
const (
	maxSeq   = 1e15 // numbers from here are nobody's: an agent that counts flares never gets there
	maxBoots = 1000 // of one principal whose numbers are remembered
	maxCount = 1e12 // of what one principal says is missing or lost
)

// numbers is what the numbers of flares tell, by the markers in done/. There may be a
// million of these.
type numbers struct {
	shared bool               // other processes write markers, too
	known  map[markerID]*seqs // the boot each belongs to; nil if it could not be read
	boots  map[string]*seqs   // by principal and boot
	count  map[string]int     // of the boots, by principal
}

func newNumbers() numbers {
	return numbers{known: map[markerID]*seqs{}, boots: map[string]*seqs{}, count: map[string]int{}}
}

// markerID is the id of a flare that has a marker.
type markerID [16]byte

func (id markerID) String() string { return hex.EncodeToString(id[:]) }

// markerIDOf returns the id that is written as name.
func markerIDOf(name string) (id markerID, ok bool) {
	if ok = frame.IsHex32(name); ok {
		_, err := hex.Decode(id[:], []byte(name))
		ok = err == nil
	}
	return id, ok
}

// seqs are the numbers of one boot's flares.
type seqs struct {
	first, last uint64
	taken       map[uint64]bool
	unresolved  []uint64 // given up by the agent, as the flare with the last number says
	markers     int      // in done/; with the last one the boot is forgotten

	// last when all markers had been read for the latest time, and for the one before.
	// What is missing below sure is not just on its way by another process.
	before, sure uint64

	telemetry bool // there is a flare that is no drill

	principal, boot, agent string
	from, to               time.Time        // when its flares were made; zero if no marker says so
	lost                   map[string]int64 // items by signal, the latest that it reported
}

// learn adds what a marker says.
func (k *numbers) learn(m marker) {
	id, ok := markerIDOf(m.FlareID)
	s := k.bootOf(m)
	if !ok || s == nil {
		return
	}
	if k.known[id] == nil {
		k.known[id] = s
		s.markers++
	}
	s.span(m)
	if m.Seq >= maxSeq {
		return
	}
	s.first, s.last = min(s.first, m.Seq), max(s.last, m.Seq)
	if s.taken[m.Seq] = true; m.Seq == s.last {
		s.unresolved = m.Unresolved
	}
}

// bootOf returns the boot that a marker is of, nil if its principal has too many.
func (k *numbers) bootOf(m marker) *seqs {
	name := m.Principal + "\n" + m.BootID
	s := k.boots[name]
	if s == nil && k.count[m.Principal] < maxBoots {
		s = &seqs{
			first: maxSeq, taken: map[uint64]bool{}, principal: m.Principal, boot: m.BootID, agent: m.Agent, lost: map[string]int64{},
		}
		k.boots[name] = s
		k.count[m.Principal]++
	}
	return s
}

// unlearn forgets a marker that is not there any more.
func (k *numbers) unlearn(id markerID) {
	s := k.known[id]
	delete(k.known, id)
	if s == nil {
		return
	}
	if s.markers--; s.markers > 0 {
		return
	}
	delete(k.boots, s.principal+"\n"+s.boot)
	if k.count[s.principal]--; k.count[s.principal] == 0 {
		delete(k.count, s.principal)
	}
}

// span notes when a flare of the boot was made, and what it says was lost.
func (s *seqs) span(m marker) {
	s.telemetry = s.telemetry || m.Reason != flare.Drill
	for signal, n := range m.Lost {
		s.lost[signal] = max(s.lost[signal], min(n, maxCount))
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

// read notes that all markers of a listing were read.
func (k *numbers) read() {
	for _, s := range k.boots {
		s.sure, s.before = s.before, s.last
	}
}

// end returns the last number of a boot up to which others may be called missing.
func (k *numbers) end(s *seqs) uint64 {
	if k.shared {
		return s.sure
	}
	return s.last
}

// Numbers is what the numbers in flares tell, over the boots in done/. Of a
// principal's word at most 10^12 count.
type Numbers struct {
	AllRead      bool  // every marker that was listed; before that the rest is zero
	SeqGaps      int64 // flares whose number is missing between others of the same boot
	Unresolved   int64 // flares that agents gave up on and that never came
	ReportedLost int64 // items that agents say they lost
	Clones       int64 // agents that two boots tell of at the same time
}

func (k *numbers) tally() Numbers {
	return Numbers{
		AllRead: true, Clones: k.clones(),
		SeqGaps:      k.sum(func(s *seqs) int64 { return s.gaps(k.end(s)) }),
		Unresolved:   k.sum(func(s *seqs) int64 { return s.missing(k.end(s)) }),
		ReportedLost: k.sum((*seqs).lostItems),
	}
}

// sum adds up what is told of every boot.
func (k *numbers) sum(of func(*seqs) int64) int64 {
	said := map[string]int64{} // by principal
	for _, s := range k.boots {
		said[s.principal] = min(said[s.principal]+of(s), maxCount)
	}
	var sum int64
	for _, n := range said {
		sum += n
	}
	return sum
}

// gaps counts the numbers missing between the first one known and end: flares that
// were lost, deleted by a stranger, or still wait.
func (s *seqs) gaps(end uint64) int64 {
	if end < s.first {
		return 0 // no number that counts
	}
	within := func(seq uint64) bool { return s.first <= seq && seq <= end }
	n := int64(end - s.first + 1) //nolint:gosec // below maxSeq
	for seq := range s.taken {
		if within(seq) {
			n--
		}
	}
	for _, seq := range s.unresolved {
		if within(seq) && !s.taken[seq] {
			n--
		}
	}
	return max(n, 0) // an agent may name one twice
}

// missing counts what the agent gave up on and never turned up.
func (s *seqs) missing(end uint64) (n int64) {
	for _, seq := range s.unresolved {
		if seq != 0 && seq <= end && !s.taken[seq] {
			n++
		}
	}
	return n
}

// lostItems counts the items that the agent says were lost.
func (s *seqs) lostItems() (sum int64) {
	for _, n := range s.lost {
		sum += n
	}
	return sum
}

// clones counts the agents that two boots tell of at the same time: one agent's
// key and name run twice, or one collector has two exporters with one name. A drill
// alone is none: a person may have sent it with the agent's files.
func (k *numbers) clones() int64 {
	type name struct{ principal, agent string }
	boots := map[name][]*seqs{}
	for _, s := range k.boots {
		if !s.from.IsZero() && (s.telemetry || s.markers > 1) {
			boots[name{s.principal, s.agent}] = append(boots[name{s.principal, s.agent}], s)
		}
	}
	var n int64
	for _, of := range boots {
		slices.SortFunc(of, func(a, b *seqs) int { return a.from.Compare(b.from) })
		last := of[0].to
		for _, s := range of[1:] {
			if s.from.Before(last) {
				n++
				break
			}
			last = s.to
		}
	}
	return n
}
