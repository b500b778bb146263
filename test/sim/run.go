package sim

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

// Keys are what agents seal with, the oracle opens with and recoveries have, by
// the weather of their key files: "ok", or another mood in which there are none
// or they trust nobody. They are made once, outside of all bubbles.
type Keys struct {
	Sealer   *flare.Sealer
	Opener   *flare.Opener
	Recovery map[string]*recovery.Keys
}

// Report is what one run came to.
type Report struct {
	Seed     uint64
	Virtual  time.Duration
	Outage   time.Duration    // in which the gateway took nothing
	Outages  int              // how often it did
	Tally    map[string]int64 // what happened how often
	Events   []string         // by their time
	Failures []string         // empty: all was as it must be
}

// Run lives through one seed. It must be called inside a testing/synctest bubble
// and has ended all it started when it returns.
func Run(seed uint64, keys *Keys) Report {
	w := newWorld(seed, keys)
	var resting sync.WaitGroup
	resting.Go(w.rests.run)
	defer resting.Wait()
	defer close(w.rests.over)
	r := w.dice("agents")
	agents := make([]*agent, 1+r.IntN(2))
	var living sync.WaitGroup
	for i := range agents {
		agents[i] = w.newAgent("agent-" + strconv.Itoa(i))
		first := between(r, time.Nanosecond, time.Second)
		living.Go(func() {
			pause(nil, first)
			agents[i].run()
		})
	}
	settled := make(chan struct{})
	var recovering sync.WaitGroup
	for _, s := range w.stores {
		for i := range s.replicas {
			rp := w.newReplica(s, i)
			recovering.Go(func() { rp.run(settled) })
		}
	}
	living.Wait()
	w.settle()
	close(settled)
	recovering.Wait()
	flares := w.open()
	for _, a := range agents {
		for _, b := range a.boots {
			w.judge(b, flares)
		}
	}
	w.judgeFlares()
	w.judgeLog()
	outage, outages := w.outage(w.gateway.moods, gatewayFoul)
	slices.Sort(w.events)
	return Report{
		Seed: seed, Virtual: time.Since(w.begin), Outage: outage, Outages: outages,
		Tally: w.tally, Events: w.events, Failures: w.failures,
	}
}

// newWorld plans a run.
func newWorld(seed uint64, keys *Keys) *World {
	w := &World{seed: seed, keys: keys, begin: time.Now(), tally: map[string]int64{}, rests: newRests()}
	w.end = w.begin.Add(between(w.dice("length"), time.Hour, 4*time.Hour))
	w.oracle = &Oracle{w: w}
	w.over = w.end.Add(2 * time.Minute)
	w.gateway, w.inner = w.newGateway("gateway"), w.newGateway("inner gateway")
	for i := range 2 {
		name := "store-" + strconv.Itoa(i)
		s := &store{
			w: w, name: name, replicas: 1 + w.dice("replicas of", name).IntN(2), leases: chance(w.dice("leases of", name), 2), fake: bucket.NewFake(), clock: w.clock(name),
			objects: map[string]*object{}, tries: map[string]*process{}, listed: map[string]bucket.Page{}, holders: map[string]*process{}, altered: map[string]int{},
			moods: w.plan(name, "ok", storeMoods), readers: w.plan("readers of "+name, "ok", readerMoods),
			trust: w.plan("trust of "+name, "ok", trustMoods),
		}
		s.fake.Now, s.fake.PageSize = s.clock, pick(w.dice("pages of", name), 3, 20, 1000)
		w.stores = append(w.stores, s)
	}
	w.keyFiles = w.plan("keys", "ok", keyMoods)
	always := []spell{{until: w.over, mood: "ok"}}
	kind := seed % 12
	if w.safe = kind < 3; w.safe {
		w.stores[0].moods, w.stores[1].moods = always, always
	}
	if kind < 8 {
		w.keyFiles = always
	}
	return w
}
