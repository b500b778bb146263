package recovery

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

const (
	maxTop    = 20      // agents in Snapshot.Top
	maxAgents = 100_000 // agents remembered; the others count in sums alone
)

// Sighting is what an agent's flares say since the process started. Drills are
// not among them.
type Sighting struct {
	Principal   string
	Flares      int64
	Items       int64        // acked
	Reason      flare.Reason // of the latest
	Cause       string       // of the latest; see FlareKind
	First, Last time.Time    // by the manifests: when they were made
}

// Outbreak is one cause, and how many agents named it last.
type Outbreak struct {
	Cause  string
	Agents int
	Since  time.Time // the first flare of any of these agents
}

// causes are what an agent may say kept its data from the gateway.
var causes = map[string]bool{
	string(otlpsend.CauseDNS): true, string(otlpsend.CauseRefused): true, string(otlpsend.CauseTimeout): true,
	string(otlpsend.CauseTLSExpired): true, string(otlpsend.CauseTLSOther): true, string(otlpsend.CauseProxy): true,
	string(otlpsend.CauseNotAnAck): true, string(otlpsend.CauseAuth): true, string(otlpsend.CauseThrottled): true,
	string(otlpsend.CauseServer): true, string(otlpsend.CauseClient): true,
}

// mainCause returns the cause that a flare's report counts most often: "none" if
// it names none, "other" for a word that is not in the closed set.
func mainCause(r flare.Report) string {
	main, most := "none", int64(0)
	for _, c := range slices.Sorted(maps.Keys(r.Causes)) {
		if n := r.Causes[c]; n > most {
			main, most = c, n
		}
	}
	if main != "none" && !causes[main] {
		return "other"
	}
	return main
}

// sight notes a flare of an agent.
func (s *Snapshot) sight(e Event) {
	if e.Why == flare.Drill {
		return
	}
	a := s.agents[e.Principal]
	if a == nil {
		if len(s.agents) >= maxAgents {
			return
		}
		a = &Sighting{Principal: e.Principal, First: e.Created, Last: e.Created}
		s.agents[e.Principal] = a
	}
	a.Flares++
	a.Items += e.Items
	if e.Created.Before(a.First) {
		a.First = e.Created
	}
	if !e.Created.Before(a.Last) {
		a.Last, a.Reason, a.Cause = e.Created, e.Why, e.Cause
	}
}

// summarise fills Top and Outbreaks.
func (s *Snapshot) summarise() {
	all := make([]Sighting, 0, len(s.agents))
	outbreaks := map[string]*Outbreak{}
	for _, a := range s.agents {
		all = append(all, *a)
		o := outbreaks[a.Cause]
		if o == nil {
			o = &Outbreak{Cause: a.Cause, Since: a.First}
			outbreaks[a.Cause] = o
		}
		o.Agents++
		if a.First.Before(o.Since) {
			o.Since = a.First
		}
	}
	slices.SortFunc(all, func(a, b Sighting) int {
		return cmp.Or(cmp.Compare(b.Flares, a.Flares), cmp.Compare(a.Principal, b.Principal))
	})
	s.Top, s.Outbreaks, s.Flaring = slices.Clone(all[:min(maxTop, len(all))]), nil, len(all)
	for _, o := range outbreaks {
		s.Outbreaks = append(s.Outbreaks, *o)
	}
	slices.SortFunc(s.Outbreaks, func(a, b Outbreak) int {
		return cmp.Or(cmp.Compare(b.Agents, a.Agents), cmp.Compare(a.Cause, b.Cause))
	})
}

// drilled notes when a principal's latest drill was made.
func (s *Snapshot) drilled(principal string, at time.Time) {
	if last, ok := s.Drills[principal]; (ok || len(s.Drills) < maxAgents) && !at.Before(last) {
		s.Drills[principal] = at
	}
}

// enrol shows agents that no drill is known of, and no longer those that were
// struck off before they sent one.
func (s *Snapshot) enrol(principals []string) {
	maps.DeleteFunc(s.Drills, func(_ string, at time.Time) bool { return at.IsZero() })
	for _, p := range principals {
		if _, ok := s.Drills[p]; !ok {
			s.Drills[p] = time.Time{}
		}
	}
}

// clones counts the agents that two boots tell of at the same time: one agent's
// key and name run twice, or one collector has two exporters with one name.
func (k *keeper) clones() int64 {
	boots := map[string][]*seqs{}
	for _, s := range k.boots {
		if !s.from.IsZero() {
			boots[s.agent] = append(boots[s.agent], s)
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

// missing counts what agents gave up on and never turned up, and the items that
// they say were lost.
func (k *keeper) missing() (unresolved, lost int64) {
	for _, s := range k.boots {
		for seq, taken := range s.known {
			if !taken && seq != 0 {
				unresolved++
			}
		}
		for _, n := range s.lost {
			lost = min(lost+n, maxSeq)
		}
	}
	return unresolved, lost
}
