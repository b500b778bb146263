package sim

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

const (
	audience  = "acme-prod"
	prefix    = "f/"
	tenantKey = "x-tenant"
)

// agent is an actor: one host whose agent starts, takes telemetry, and crashes
// or is shut down, again and again.
type agent struct {
	w        *World
	name     string
	r        *rand.Rand // owned by run
	settings delivery.Settings
	boots    []*boot
}

// newAgent draws an agent's configuration.
func (w *World) newAgent(name string) *agent {
	r := w.dice("agent", name)
	a := &agent{w: w, name: name, r: r}
	capacity := int64(1) << (20 + r.IntN(2))
	timeout := pick(r, 10*time.Second, 30*time.Second)
	a.settings = delivery.Settings{
		Agent: "acme/host-17", Audience: audience, Version: "1.0",
		Frame:   delivery.FrameSettings{MaxSize: 4 << (10 + r.IntN(3)), Linger: pick(r, 0, 200*time.Millisecond, time.Second)},
		Ring:    delivery.RingSettings{Capacity: capacity, MaxAge: pick(r, time.Minute, 5*time.Minute, 10*time.Minute), Refuse: chance(r, 4)},
		Retry:   delivery.RetrySettings{InitialInterval: time.Second, MaxInterval: 30 * time.Second, Timeout: timeout},
		Senders: 1 + r.IntN(6), NewestFirst: chance(r, 3),
		ShutdownTimeout: pick(r, 5*time.Second, 20*time.Second),
	}
	if w.safe {
		a.settings.Flare = &delivery.FlareSettings{MaxSize: capacity / 8, Budget: 1 << 30}
	} else if !chance(r, 10) {
		a.settings.Flare = &delivery.FlareSettings{
			MaxSize: capacity / pick(r, int64(4), 8), Budget: pick(r, int64(2<<20), 1<<30, 1<<30, 1<<30),
		}
	}
	if a.settings.Flare != nil {
		a.settings.Flare.DrillInterval = pick(r, 0, 5*time.Minute, time.Hour)
	}
	return a
}

// run lives until the end of the world's time.
func (a *agent) run() {
	for time.Now().Before(a.w.end) {
		b := a.start()
		life := between(a.r, 2*time.Minute, 2*time.Hour)
		a.live(b, time.Now().Add(min(life, until(a.w.end))))
		if chance(a.r, 2) || closed(b.doomed) {
			b.crash()
		} else {
			b.shutdown(between(a.r, a.patience(), 40*time.Second))
		}
		pause(nil, between(a.r, time.Second, time.Minute))
	}
}

// patience returns the least time that a service manager gives the agent to end.
func (a *agent) patience() time.Duration {
	if a.w.safe {
		return a.settings.ShutdownTimeout
	}
	return time.Second
}

// start boots the agent.
func (a *agent) start() *boot {
	b := &boot{
		agent: a, nth: len(a.boots) + 1, dead: make(chan struct{}), gone: make(chan struct{}), doomed: make(chan struct{}),
		frames: map[frame.BatchID]*sent{}, flares: map[string]*put{}, lost: map[delivery.LossReason]int64{},
	}
	a.boots = append(a.boots, b)
	b.fuses()
	jitter := &locked{r: a.w.dice("jitter", b.name())}
	s := a.settings
	s.Random, s.Observer, s.Transport = jitter.float, b.observer(), link{a.w.gateway, b}
	if s.Flare != nil {
		fs := *s.Flare
		fs.Sealer, fs.NewID = b.sealer, b.newID
		for _, st := range a.w.stores {
			fs.Targets = append(fs.Targets, delivery.Target{Name: st.name, Bucket: &writer{st.fake, st, b}, Prefix: prefix})
		}
		s.Flare = &fs
	}
	var err error
	if b.engine, err = delivery.New(s); err == nil {
		err = b.engine.Start(context.Background())
	}
	if err != nil {
		panic(err) // the settings are ours
	}
	return b
}

// live hands in telemetry and looks at the counters every second.
func (a *agent) live(b *boot, end time.Time) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	done := make(chan struct{})
	b.reads.Go(func() {
		for !closed(done) {
			select {
			case <-tick.C:
				b.tick()
			case <-done:
			}
		}
	})
	defer close(done)
	for time.Now().Before(end) && !closed(b.doomed) {
		a.phase(b, end)
	}
}

// phase hands in telemetry of one kind of load for a while.
func (a *agent) phase(b *boot, end time.Time) {
	type load struct {
		interval, length time.Duration
		records, padding int
	}
	loads := []load{
		{30 * time.Second, 20 * time.Minute, 3, 100},
		{4 * time.Second, 15 * time.Minute, 8, 200},
		{4 * time.Second, 10 * time.Minute, 20, 600},
		{time.Minute, 10 * time.Minute, 1, 20_000},
		{200 * time.Millisecond, 40 * time.Second, 10, 1500},
	}
	if a.w.safe {
		loads = loads[:4]
	}
	l := pick(a.r, loads...)
	until := time.Now().Add(between(a.r, time.Second, l.length))
	for now := time.Now(); now.Before(end) && now.Before(until) && !closed(b.doomed); now = time.Now() {
		n, padding := 1+a.r.IntN(l.records), 1+a.r.IntN(l.padding)
		if chance(a.r, 500) && !a.w.safe {
			n, padding = 1+a.r.IntN(4), a.r.IntN(250_000) // no flare can hold the largest
		}
		a.accept(b, n, padding)
		pause(b.doomed, between(a.r, time.Millisecond, 2*l.interval))
	}
}

// accept hands in one call of n new records.
func (a *agent) accept(b *boot, n, padding int) {
	s := frame.Signal(a.r.IntN(numSignals)) //nolint:gosec // 0 to 2
	tenant := pick(a.r, "", "", "", "red", "blue")
	first := a.w.oracle.hand(b, s, tenant, n)
	pieces, err := encode(s, first, n, padding, a.settings.Frame.MaxSize)
	if err != nil {
		panic(err) // the records are ours
	}
	var meta map[string][]string
	if tenant != "" {
		meta = map[string][]string{tenantKey: {tenant}}
	}
	// Whoever calls may use the bytes again after the call.
	a.w.oracle.accepts(first, n)
	if err := b.engine.Accept(s, meta, pieces); err != nil {
		a.w.oracle.told(numbers(first, n), func(r *record) { r.accepted = false })
		a.refusal(b, err, padding)
	}
	for _, p := range pieces {
		clear(p.Raw)
	}
}

// refusal checks why records were refused.
func (a *agent) refusal(b *boot, err error, padding int) {
	switch {
	case errors.Is(err, delivery.ErrTooLarge) && padding > 10_000:
		a.w.count("accept: too large", 1)
	case errors.Is(err, delivery.ErrFull):
		a.w.count("accept: full", 1)
	default:
		a.w.failf("%s: records are refused: %v", b.name(), err)
	}
}

func numbers(first, n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = first + i
	}
	return ids
}

// crash ends the process in an instant: its memory is gone, and what is on the
// wire may or may not arrive.
func (b *boot) crash() {
	b.rest("crash")
	b.final, b.crashed = b.look(), true
	close(b.dead)
	// The rest is for the bubble alone: the engine's goroutines must end.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = b.engine.Shutdown(gone)
	close(b.gone)
	b.reads.Wait()
	b.agent.w.happened("end: crash", b.name())
}

// shutdown ends the process as a service manager does, which gives it some time.
func (b *boot) shutdown(patience time.Duration) {
	w, limit := b.agent.w, b.agent.settings.ShutdownTimeout
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begin := time.Now()
	var err error
	ended := make(chan struct{})
	var stopping sync.WaitGroup
	stopping.Go(func() {
		err = b.engine.Shutdown(ctx)
		close(ended)
	})
	select {
	case <-ended:
	case <-b.doomed: // killed while it shuts down
		b.crash()
		stopping.Wait()
		w.happened("end: killed in a shutdown", b.name(), time.Since(begin))
		return
	}
	took := time.Since(begin)
	if err != nil || took > min(limit, patience+limit/20) {
		w.failf("%s: shut down after %s of %s, patience %s: %v", b.name(), took, limit, patience, err)
	}
	if again := b.engine.Shutdown(ctx); again != nil {
		w.failf("%s: shut down twice: %v", b.name(), again)
	}
	close(b.gone)
	b.reads.Wait()
	if b.final = b.look(); b.final.Used != 0 {
		w.failf("%s: %d bytes are used after the shutdown", b.name(), b.final.Used)
	}
	close(b.dead)
	w.happened("end: shutdown", b.name(), took)
}
