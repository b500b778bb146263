package sim

import (
	"math/rand/v2"
	"time"
)

// spell is a time in which an edge behaves in one way.
type spell struct {
	until time.Time
	mood  string
	salt  uint64 // what else the mood is about
}

// The moods of a gateway. Fair ones take data; the others are outages.
var (
	gatewayFair  = []string{"up", "slow", "picky", "poison", "partial"}
	gatewayFoul  = []string{"refused", "reset", "lost", "hung", "hung_late", "half", "not_an_ack", "no_receipt", "wrong_receipt", "auth", "throttled", "server", "all_bad"}
	gatewayMoods = append(append([]string{"flaky"}, gatewayFair...), gatewayFoul...)
)

// What a gateway asks recoveries for: always the same window, or another one with
// every ack.
var windowMoods = []string{"steady", "steady", "restless"}

// The moods of a store.
var (
	storeFoul = []string{
		"denied", "throttled", "unknown", "unknown_late", "hung", "hung_late", "half",
		"unreachable", "exists", "refused", "slow",
	}
	storeMoods = append([]string{"flaky"}, storeFoul...)
)

// The moods of a store towards recoveries.
var (
	readerFoul  = append([]string{"stale", "altered"}, storeFoul...)
	readerMoods = append([]string{"flaky", "taken_away", "taken_away"}, readerFoul...)
)

// The moods of key files: of agents, and of recoveries.
var (
	keyMoods   = []string{"broken"}
	trustMoods = []string{"ok", "ok", "none", "nobody"}
)

// clock returns the clock of a server. It may be hours away from the others', and is
// set by up to two minutes now and then, until the weather is over.
func (w *World) clock(edge string) func() time.Time {
	r := w.dice("clock", edge)
	skew := pick(r, 0, between(r, -10*time.Hour, 10*time.Hour))
	spells := w.plan("clock of "+edge, "right", []string{"set"})
	return func() time.Time {
		at := time.Now().Add(skew)
		if s := now(spells); s.mood == "set" {
			w.count(edge+": tells the time while its clock is set", 1)
			at = at.Add(time.Duration(s.salt%241)*time.Second - 2*time.Minute)
		}
		return at
	}
}

// plan draws the weather of one edge: calm and trouble take turns until the
// weather is over. After that it is calm for ever.
func (w *World) plan(edge string, calm string, moods []string) (spells []spell) {
	r := w.dice("weather", edge)
	share := 1 + r.IntN(8) // the larger, the more trouble
	for at := w.begin; at.Before(w.over); {
		at = at.Add(between(r, time.Second, 12*time.Minute/time.Duration(share)))
		spells = append(spells, spell{at, calm, r.Uint64()})
		at = at.Add(between(r, time.Second, time.Duration(share)*6*time.Minute))
		spells = append(spells, spell{at, moods[r.IntN(len(moods))], r.Uint64()})
	}
	for i := range spells {
		if spells[i].until.After(w.over) {
			spells[i].until = w.over
		}
	}
	return append(spells, spell{until: w.over.Add(1000 * time.Hour), mood: calm})
}

// now returns the spell that an edge is in.
func now(spells []spell) spell {
	at := time.Now()
	for _, s := range spells {
		if at.Before(s.until) {
			return s
		}
	}
	return spells[len(spells)-1]
}

// outage returns how long an edge was in a mood that takes no data, and how often.
func (w *World) outage(spells []spell, foul []string) (total time.Duration, times int) {
	isFoul := map[string]bool{}
	for _, m := range foul {
		isFoul[m] = true
	}
	for i, from := 0, w.begin; i < len(spells) && from.Before(w.end); i++ {
		to := spells[i].until
		if to.After(w.end) {
			to = w.end
		}
		if isFoul[spells[i].mood] {
			total += to.Sub(from)
			times++
		}
		from = to
	}
	return total, times
}

// fair draws how a call goes that does what it is there for.
func fair(r *rand.Rand) course {
	return course{
		effect: true, before: between(r, time.Millisecond, 80*time.Millisecond),
		after: between(r, time.Millisecond, 80*time.Millisecond), wire: chance(r, 2), close: chance(r, 2),
		lag: between(r, time.Nanosecond, pick(r, time.Millisecond, 50*time.Millisecond)),
	}
}

// fault changes a fair course to what the common moods say: before the effect
// and after it.
func (c course) fault(r *rand.Rand, mood string) course {
	switch mood {
	case "slow":
		c.before, c.after = between(r, time.Second, 20*time.Second), between(r, time.Second, 20*time.Second)
	case "hung":
		c.effect, c.hang = false, true
	case "hung_late":
		c.hang = true
	case "lost", "unknown_late", "up", "partial", "ok", "stale", "altered":
	default:
		c.effect = false
	}
	return c
}
