package delivery

import (
	"context"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// phase is what the loop is about.
type phase uint8

const (
	running  phase = iota // takes data
	draining              // sends what it can
	flaring               // flares what is left
	over
)

// run is the engine's one loop. It decides and starts; what it starts tells it
// by a kick when something changed. With an empty ring it sleeps without end.
func (e *Engine) run() {
	defer close(e.life.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-e.wake:
		case <-timer.C:
		case <-e.life.ctx.Done():
		}
		next, done := e.step(time.Now())
		e.report()
		if done {
			break
		}
		timer.Stop()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
	// Acks and PUTs that land at the last moment still count; then the rest is lost.
	e.life.cancel()
	e.jobs.Wait()
	e.ring.LoseAll(string(LostShutdown))
	e.report()
}

// step does everything that is due and returns when to come again; the zero
// time means when kicked.
func (e *Engine) step(now time.Time) (next time.Time, done bool) {
	e.advance(now)
	switch e.phase {
	case over:
		return time.Time{}, true
	case draining:
		taken, _ := e.takeOpen(now)
		e.send(now)
		e.sealAll(taken)
		return e.drainEnd(), false
	case flaring:
		e.flareRest()
		return e.life.deadline(), false
	}
	begun := now.Add(-e.s.Ring.MaxAge / 10)
	if e.nearlyFull() {
		begun = now // what is open can be neither flared nor dropped
	}
	taken, next := e.takeOpen(begun)
	next = minTime(next, e.send(now))
	e.sealAll(taken)
	if e.s.Flare != nil {
		next = minTime(next, e.drillDue(now))
		next = minTime(next, e.flareDue(now))
	}
	return next, false
}

// advance moves the engine to the phase it belongs in.
func (e *Engine) advance(now time.Time) {
	if e.life.askedAt().IsZero() {
		return
	}
	if e.phase == running {
		e.phase = draining
		e.path.drain()
		e.fb.hurry()
	}
	v := e.ring.View()
	if e.phase == draining && e.drained(now, v) {
		e.phase = flaring
	}
	if e.phase == flaring && e.fb.exhausted(v) || e.life.over(now) {
		e.phase = over
	}
}

// drained reports whether a drain has sent what it can.
func (e *Engine) drained(now time.Time, v ring.View) bool {
	if !now.Before(e.drainEnd()) {
		return true
	}
	if v.Leased > 0 || v.Sealing > 0 || v.Flaring > 0 { // a flare may give its frames back
		return false
	}
	waiting := v.Held > 0 || !v.Open.IsZero()
	return !waiting || e.path.free(now, 0) == 0
}

// drainEnd returns when a drain stops waiting for the gateway: what it does not
// take by then needs the rest of the time for flares.
func (e *Engine) drainEnd() time.Time {
	if e.s.Flare == nil {
		return e.life.deadline()
	}
	return e.life.askedAt().Add(e.s.ShutdownTimeout / 3)
}

// nearlyFull reports whether frames take so much that a flare is due.
func (e *Engine) nearlyFull() bool {
	return e.ring.View().Frames*100 > e.usable*highMark
}

// takeOpen takes the frames that were begun at or before a time, to be sealed, and
// returns when the next one is due at the same distance.
func (e *Engine) takeOpen(begun time.Time) (taken []*ring.Frame, next time.Time) {
	for f := e.ring.TakeOpen(begun); f != nil; f = e.ring.TakeOpen(begun) {
		taken = append(taken, f)
	}
	if oldest := e.ring.View().Open; !oldest.IsZero() {
		next = oldest.Add(e.s.Ring.MaxAge / 10)
	}
	return taken, next
}

// sealAll seals frames in a goroutine. When all are sealed they are sent in the
// order in which they came.
func (e *Engine) sealAll(taken []*ring.Frame) {
	if len(taken) == 0 {
		return
	}
	e.jobs.Go(func() {
		for _, f := range taken {
			e.ring.Seal(f, otlpcodec.Compress)
		}
		e.kick()
	})
}

// send gives frames to free senders and returns when it can give the next one.
func (e *Engine) send(now time.Time) time.Time {
	for {
		v := e.ring.View()
		if e.path.free(now, v.Leased) == 0 {
			if v.Leased == 0 && (v.Held > 0 || v.Flaring > 0 || !v.Open.IsZero()) {
				return e.path.probeAt()
			}
			return time.Time{}
		}
		wish, suspectsAt := e.path.wish(now)
		wish.Begun = now.Add(-e.s.Frame.Linger)
		f, first := e.ring.Lease(wish)
		if v.Held == 0 {
			suspectsAt = time.Time{}
		}
		switch {
		case f == nil && v.Open.IsZero():
			if wish.Spread > 0 {
				e.knock(now)
			}
			return suspectsAt
		case f == nil:
			return minTime(v.Open.Add(e.s.Frame.Linger), suspectsAt)
		case first:
			e.jobs.Go(func() { e.live(f, func(ctx context.Context) { e.attempt(ctx, f) }) })
		default:
			select {
			case f.Turn() <- struct{}{}:
			default: // an unread turn says the same
			}
		}
	}
}

// flareDue starts the flare that is due and returns when to ask again.
func (e *Engine) flareDue(now time.Time) time.Time {
	v := e.ring.View()
	if v.Parked > 0 {
		v.Frames -= e.ring.ParkedBytes() // a flare of telemetry does not free them
	}
	d := e.fb.decide(now, v)
	e.ring.DropReason(string(d.dropReason))
	if d.reason != "" {
		e.startFlare(d.reason, !lastFlare)
	}
	return d.next
}

// flareRest starts flares of everything that is left, several at a time and
// each a quarter of the usual size, so that all fit what is set aside.
func (e *Engine) flareRest() {
	switch v := e.ring.View(); {
	case v.Takable > 0 && e.fb.mayStart(shutdownFlares):
		e.startFlare(flare.Shutdown, lastFlare)
	case v.Takable == 0 && v.Parked > 0 && e.fb.mayStart(shutdownFlares):
		e.startFlare(flare.Rejected, lastFlare)
	}
}

// shutdownFlares is how many flares a shutdown puts at the same time.
const shutdownFlares = 4

// lastFlare says that a flare is one of those that end a shutdown.
const lastFlare = true

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
