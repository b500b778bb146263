package delivery

import (
	"maps"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// fallback is what is known of the way to the buckets.
type fallback struct {
	hurried chan struct{} // closed when a shutdown leaves no time to wait
	random  func() float64

	mu sync.Mutex
	// mu guards the following.
	trigger  trigger
	budget   budget
	targets  targets
	pauses   pauses
	seqs     seqs
	running  map[*job]bool // true: it has its frames, and room for what is sealed of them
	noRoom   bool          // for another sealed flare beside those that run
	hopeless bool          // what is left cannot be flared
	outcomes map[FlareOutcome]int64
	drills   time.Duration // between two; 0: none
	drillPut time.Time     // when a drill was last stored
	proof    proof
	ready    bool // it could seal when it last tried
}

// How a flare ended.
const (
	outcomeStored  = "stored"
	outcomeGivenUp = "given_up"
	outcomeFailed  = "failed"
)

func newFallback(s *Settings, usable int64) *fallback {
	fb := &fallback{
		hurried: make(chan struct{}), random: s.Random, running: map[*job]bool{},
		outcomes: map[FlareOutcome]int64{},
		targets:  targets{refused: map[string]error{}, avoid: map[string]time.Time{}},
		trigger:  newTrigger(s, usable),
	}
	if s.Flare != nil {
		fb.budget.perDay, fb.drills = s.Flare.Budget, s.Flare.DrillInterval
	}
	fb.trigger.redraw(fb.random())
	return fb
}

// decision is what the loop does about flares.
type decision struct {
	reason     flare.Reason // start one; "": do not
	next       time.Time    // ask again
	dropReason LossReason   // why frames dropped for room are lost from now on
}

// decide says which flare begins now. One runs at a time, and telemetry goes
// first: nothing else has a flare while it waits for one.
func (fb *fallback) decide(now time.Time, v ring.View) decision {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	reason, at := fb.trigger.due(now, v)
	d := decision{next: at, dropReason: LostRingFull}
	if !fb.budget.allows(now) {
		d.dropReason = LostBudget
		if v.Takable+v.Parked > 0 {
			d.next = fb.budget.until
		}
		return d
	}
	if len(fb.running) > 0 {
		if reason != "" {
			fb.abandon(func(j *job) bool { return !j.telemetry() })
		}
		return d
	}
	switch paused := fb.pauses[ring.Telemetry]; {
	case reason == "":
		d.reason, d.next = fb.other(now, v, at)
	case now.Before(paused):
		d.next = paused
	default:
		d.reason = reason
	}
	return d
}

// other decides about the flares that hold no telemetry. At is when telemetry
// may be due.
func (fb *fallback) other(now time.Time, v ring.View, at time.Time) (flare.Reason, time.Time) {
	if v.Parked > 0 {
		due := fb.pauses[ring.Parked]
		if !now.Before(due) {
			fb.pauses[ring.Parked] = now.Add(minuteBetween)
			return flare.Rejected, at
		}
		at = minTime(at, due)
	}
	if !v.Drill.IsZero() {
		due := later(fb.trigger.expiry(v.Drill), fb.pauses[ring.Drill])
		if !now.Before(due) {
			return flare.Drill, at
		}
		at = minTime(at, due)
	}
	return "", at
}

// mayStart reports whether a shutdown may start one more flare.
func (fb *fallback) mayStart(most int) bool {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	for _, took := range fb.running {
		if !took { // they take one after the other
			return false
		}
	}
	return !fb.noRoom && !fb.hopeless && len(fb.running) < most
}

// exhausted reports whether no flare runs and none could be started.
func (fb *fallback) exhausted(v ring.View) bool {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	if len(fb.running) > 0 || v.Sealing > 0 || v.Flaring > 0 {
		return false
	}
	return fb.budget.perDay == 0 || fb.hopeless || v.Takable+v.Parked == 0
}

// abandon gives up the flares that match: their frames have a better way, or
// telemetry needs theirs. A PUT of telemetry goes on to its end, because it may
// be the last that was needed; others are cut off.
func (fb *fallback) abandon(match func(*job) bool) {
	for j := range fb.running {
		if !match(j) || closed(j.abandoned) {
			continue
		}
		close(j.abandoned)
		if !j.telemetry() {
			j.cancel()
		}
	}
}

// gatewayIsBack is told that the gateway takes data again after it did not.
func (fb *fallback) gatewayIsBack(now time.Time) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	fb.trigger.reopened(now)
	fb.abandon((*job).telemetry)
}

// hurry ends all waiting between attempts: a shutdown has begun.
func (fb *fallback) hurry() {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	close(fb.hurried)
	fb.abandon(func(j *job) bool { return j.reason == flare.Drill })
}

func (fb *fallback) begin(j *job) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	fb.running[j] = false
}

// took is told that j has its frames, and room for what is sealed of them.
func (fb *fallback) took(j *job) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	fb.running[j] = true
}

// notTaken ends a job that could not begin. The next try waits, and a shutdown
// does not wait for it; but for room it waits until another flare is done.
func (fb *fallback) notTaken(j *job, roomIsShort bool, retry time.Duration) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	delete(fb.running, j)
	if roomIsShort && len(fb.running) > 0 {
		fb.noRoom = true
		return
	}
	fb.pauses.failed(j.kind(), time.Now().Add(retry))
	fb.hopeless = j.last
}

// sealed counts a sealed flare.
func (fb *fallback) sealed(bytes int64) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	fb.budget.spend(time.Now(), bytes)
}

// nextSeq numbers a flare. Until it is known to be stored it is unresolved.
func (fb *fallback) nextSeq() (seq uint64, unresolved []uint64) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	return fb.seqs.next()
}

// done ends a job. An empty outcome counts nothing: there was no flare.
func (fb *fallback) done(j *job, outcome string, retry time.Duration) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	delete(fb.running, j)
	fb.noRoom = false
	now := time.Now()
	if outcome != "" {
		fb.outcomes[FlareOutcome{j.reason, outcome}]++
	}
	switch outcome {
	case outcomeStored:
		fb.seqs.stored(j.manifest.Seq)
		fb.trigger.redraw(fb.random())
		switch {
		case j.telemetry():
			fb.trigger.took(now.Sub(j.started))
		case j.reason == flare.Drill:
			fb.drillPut = now
		}
	case outcomeFailed:
		fb.hopeless = j.last
	}
	if outcome == outcomeGivenUp || outcome == outcomeFailed {
		fb.pauses.failed(j.kind(), now.Add(retry))
		if !j.mayBeStored() {
			fb.seqs.void(j.manifest.Seq)
		}
	}
}

// tell fills in what s tells of the fallback.
func (fb *fallback) tell(s *Snapshot) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	s.Flares, s.DrillPut, s.Ready = maps.Clone(fb.outcomes), fb.drillPut, fb.ready
}
