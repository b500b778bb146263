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

// Fleet is what is known of agents by their flares and drills.
type Fleet struct {
	Drills    map[string]time.Time // by principal: when its last drill was made; zero for enrolled ones without
	Known     int                  // agents with a line of their own, a drill or a flare
	Flaring   int                  // agents that flared since the process started; drills are no flares here
	Top       []Sighting           // of them, the 20 with most flares
	Outbreaks []Outbreak           // of them, by cause, the most agents first

	agents map[string]*Sighting // by principal
}

// add notes an event that ends a verified flare.
func (f *Fleet) add(e Event) {
	switch {
	case e.Principal == "":
	case e.State == Drilled:
		f.drilled(e.Principal, e.Created)
	case (e.State == Recovered || e.State == Quarantined) && e.Why != flare.Drill:
		f.sight(e)
	}
}

// sight notes a flare of an agent.
func (f *Fleet) sight(e Event) {
	a := f.agents[e.Principal]
	if a == nil {
		if len(f.agents) >= maxAgents {
			return
		}
		a = &Sighting{Principal: e.Principal, First: e.Created, Last: e.Created}
		f.agents[e.Principal] = a
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

// summary returns f with its sums, which shares nothing with it.
func (f Fleet) summary() Fleet {
	f.Drills = maps.Clone(f.Drills)
	all := make([]Sighting, 0, len(f.agents))
	outbreaks := map[string]*Outbreak{}
	f.Known = len(f.Drills)
	for principal, a := range f.agents {
		if _, ok := f.Drills[principal]; !ok {
			f.Known++
		}
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
	f.Top, f.Outbreaks, f.Flaring = slices.Clone(all[:min(maxTop, len(all))]), nil, len(all)
	for _, o := range outbreaks {
		f.Outbreaks = append(f.Outbreaks, *o)
	}
	slices.SortFunc(f.Outbreaks, func(a, b Outbreak) int {
		return cmp.Or(cmp.Compare(b.Agents, a.Agents), cmp.Compare(a.Cause, b.Cause))
	})
	f.agents = nil
	return f
}

// drilled notes when a principal's latest drill was made.
func (f *Fleet) drilled(principal string, at time.Time) {
	if last, ok := f.Drills[principal]; (ok || len(f.Drills) < maxAgents) && !at.Before(last) {
		f.Drills[principal] = at
	}
}

// enrol shows agents that no drill is known of, and no longer those that were
// struck off or revoked.
func (f *Fleet) enrol(keys *Keys) {
	maps.DeleteFunc(f.Drills, func(p string, at time.Time) bool { return at.IsZero() || !keys.Opener.Knows(p) })
	for _, p := range keys.Enrolled {
		if _, ok := f.Drills[p]; !ok {
			f.Drills[p] = time.Time{}
		}
	}
}

// drillsSince forgets older drills: a process that starts now finds no marker of them.
func (f *Fleet) drillsSince(oldest time.Time) {
	maps.DeleteFunc(f.Drills, func(_ string, at time.Time) bool { return at.Before(oldest) })
}
