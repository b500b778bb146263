package sim

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

const (
	// MaxAge is what recoveries are configured with.
	MaxAge = 336 * time.Hour

	statePrefix  = "lifeline/"
	tenantHeader = "x-customer"
	principal    = "acme/host-17"   // whose key signs all flares
	maxStop      = 11 * time.Second // 5 s for flares that are half sent, 5 s to tidy up
)

// replica is an actor: a recovery that starts, brings flares back, and crashes
// or is stopped, again and again.
type replica struct {
	w     *World
	name  string
	store *store
	r     *rand.Rand // owned by run
	procs []*process
}

// process is one process of a replica, and what the servers saw of it.
type process struct {
	replica *replica
	nth     int
	dead    chan struct{} // closed: it crashed, nothing reaches it any more
	senders int
	rate    int64

	mu sync.Mutex
	// mu guards the following.
	woke   time.Time       // when it last stood still, the end of that; calls after it are made late
	fuse   int             // it crashes in one of so many calls; 0: in none
	calls  map[string]int  // by what they are
	looked map[string]bool // flares of which done/ said no when it was last asked
	acked  map[string]bool // requests that were acked
	acks   [frame.NumSignals]int
	doubts map[string]int // acks when a request was first refused
	ids    int            // drawn
	onWay  int            // requests
	slot   time.Time      // of the next one
	asked  []int          // windows, by the latest acks; 0: none
}

func (w *World) newReplica(s *store, nth int) *replica {
	name := "recovery-" + strconv.Itoa(nth) + " of " + s.name
	return &replica{w: w, name: name, store: s, r: w.dice("recovery", name)}
}

func (p *process) name() string { return p.replica.name + " process " + strconv.Itoa(p.nth) }

// run lives until all is settled. When the weather is over nothing crashes any
// more.
func (rp *replica) run(settled <-chan struct{}) {
	for !closed(settled) {
		rp.live(settled)
		pause(settled, between(rp.r, time.Second, pick(rp.r, time.Minute, 20*time.Minute)))
	}
}

// live is the life of one process.
func (rp *replica) live(settled <-chan struct{}) {
	p := rp.start()
	life := rp.w.end.Add(1000 * time.Hour)
	if left := until(rp.w.over); left > 0 {
		life = time.Now().Add(min(left, between(rp.r, time.Second, 2*time.Hour)))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	loop := recovery.New(rp.settings(p))
	var running sync.WaitGroup
	running.Go(func() { loop.Run(ctx) })

	timer := time.NewTimer(time.Until(life))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-settled:
	case <-p.dead:
	}
	// By the clock: all may be settled in the very instant in which a life ends.
	if chance(rp.r, 2) && until(rp.w.over) > 0 {
		p.die()
	}
	begin := time.Now()
	cancel()
	running.Wait()
	took := time.Since(begin)
	if took > maxStop && !p.woke.After(begin) {
		rp.w.failf("%s: stopped after %s", p.name(), took)
	}
	if closed(p.dead) {
		rp.w.happened("end: recovery crash", p.name())
	} else {
		rp.w.happened("end: recovery stop", p.name(), took)
		close(p.dead)
	}
}

// start makes a process. Two of three crash at some call, if they live to see it.
func (rp *replica) start() *process {
	p := &process{
		replica: rp, nth: len(rp.procs) + 1, dead: make(chan struct{}),
		calls: map[string]int{}, looked: map[string]bool{}, acked: map[string]bool{}, doubts: map[string]int{},
	}
	if until(rp.w.over) > 0 && !chance(rp.r, 3) {
		p.fuse = pick(rp.r, 10, 50, 500)
	}
	rp.procs = append(rp.procs, p)
	return p
}

func (rp *replica) settings(p *process) recovery.Settings {
	w := rp.w
	jitter := &locked{r: w.dice("jitter", p.name())}
	p.senders, p.rate = 1+rp.r.IntN(4), pick(rp.r, int64(32<<20), 256<<10, 16<<10)
	return recovery.Settings{
		Bucket: &reader{store: rp.store, process: p}, Prefix: prefix, StatePrefix: statePrefix,
		Keys: func() *recovery.Keys { return w.keys.Recovery[now(rp.store.trust).mood] },

		Flares: 1 + rp.r.IntN(4),
		Gateway: recovery.Gateway{
			Transport: wayBack{w.inner, p}, Timeout: 30 * time.Second, Audience: audience, TenantHeader: tenantHeader,
			MaxRate: p.rate, Senders: p.senders,
		},
		PollInterval: pick(rp.r, 30*time.Second, 2*time.Minute),
		MaxAge:       MaxAge, QuarantineMaxBytes: 1 << 40, Random: jitter.float, NewID: p.newID, Lease: rp.store.leases,
		Observer: recovery.Observer{
			Flare: func(e recovery.Event) {
				if !closed(p.dead) {
					w.count(strings.TrimSpace("recovery: "+string(e.State)+" "+e.Reason), 1)
				}
			},
		},
	}
}

// newID returns what the process takes for random digits.
func (p *process) newID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ids++
	return p.replica.w.id(p.name(), p.ids)
}

// die ends the process in an instant.
func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !closed(p.dead) {
		close(p.dead)
	}
}

// begins counts a call.
func (p *process) begins(call string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[call]++
	return p.calls[call]
}

// passes lets a call take its course. In a call that it dies in, the process
// dies before the effect or after it. A process may also stand still for a long
// time, and not know it: then none of its calls gets anywhere.
func (p *process) passes(ctx context.Context, c course, dice *rand.Rand, effect func()) (done, answered bool) {
	w := p.replica.w
	dies := p.fuse > 0 && chance(dice, p.fuse) && until(w.over) > 0
	if dies && chance(dice, 2) {
		// Not at once: what begins in the same instant has begun.
		if !wait(ctx, p.dead, c.before) {
			pause(p.dead, c.lag)
		}
		if !closed(p.dead) {
			w.count("recovery: dies before an effect", 1)
			p.die()
		}
		return false, false
	}
	p.standsStill(c.lag)
	done, answered = c.pass(ctx, p.dead, effect)
	if dies && !closed(p.dead) {
		if done {
			w.count("recovery: dies after an effect", 1)
		}
		p.die()
		return done, false
	}
	if until(w.over) > 0 && chance(dice, 400) {
		p.stops(between(dice, time.Second, 20*time.Minute))
	}
	p.standsStill(c.lag)
	return done, answered && !closed(p.dead)
}

// stops has the process stand still for some time.
func (p *process) stops(d time.Duration) {
	w := p.replica.w
	w.count("recovery: stands still", 1)
	if s := p.replica.store; s.leases && s.replicas > 1 && d > time.Minute {
		w.count("recovery: stands still for longer than its leases last", 1)
	}
	p.note(func(p *process) {
		if woke := time.Now().Add(d); woke.After(p.woke) { // another call may have begun it
			p.woke = woke
		}
	})
}

// standsStill returns when the process does not stand still. Of those who waited
// for that, none goes on in the same instant.
func (p *process) standsStill(lag time.Duration) {
	p.mu.Lock()
	d := until(p.woke)
	p.mu.Unlock()
	if d > 0 {
		pause(p.dead, d+lag)
	}
}
