package delivery

import (
	"slices"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// avoidFor is how long a bucket that kept a PUT waiting goes behind the others.
const avoidFor = 5 * time.Minute

// targets is what is known of the buckets. It is pure.
type targets struct {
	refused map[string]error     // those that were reported to refuse, and why, and no others; "" is the keys
	avoid   map[string]time.Time // those that kept us waiting, and until when they go last
	takes   time.Duration        // what a PUT that succeeds takes, learned
}

// changed notes why a target takes no flares, nil if it does, and reports whether that
// is news, and whether the target turned from taking them to refusing, or back.
func (ts *targets) changed(name string, err error) (news, turned bool) {
	before := ts.refused[name]
	turned = (before == nil) != (err == nil)
	if err == nil {
		delete(ts.refused, name)
		return turned, turned
	}
	if !turned && sameRefusal(name, before, err) {
		return false, false
	}
	ts.refused[name] = err
	return true, turned
}

// sameRefusal reports whether a target refuses for the reason that it had before. The
// words of a bucket differ from answer to answer; those about the keys are the reason,
// for what is wrong with their files is told by who reads them.
func sameRefusal(name string, before, now error) bool {
	if name == "" {
		return before.Error() == now.Error()
	}
	return bucket.KindOf(before) == bucket.KindOf(now) && bucket.CodeOf(before) == bucket.CodeOf(now)
}

// ordered returns all targets in the order of trying: as configured, but those
// that kept us waiting lately go last, or each flare would wait for them again.
// What only proves goes first to those that refused.
func (ts *targets) ordered(now time.Time, all []Target, proves bool) []Target {
	turn := func(t Target) int {
		switch {
		case proves && ts.refused[t.Name] != nil:
			return 0
		case now.Before(ts.avoid[t.Name]):
			return 2
		}
		return 1
	}
	order := slices.Clone(all)
	slices.SortStableFunc(order, func(a, b Target) int { return turn(a) - turn(b) })
	return order
}

// putOf is one PUT that has ended.
type putOf struct {
	target string
	stored bool
	slow   bool // it failed, and took its time
	took   time.Duration
}

func (ts *targets) put(now time.Time, p putOf) {
	switch {
	case p.stored:
		delete(ts.avoid, p.target)
		ts.takes = (ts.takes + p.took) / 2
	case p.slow:
		ts.avoid[p.target] = now.Add(avoidFor)
	}
}

const (
	putBase   = 20 * time.Second // for a PUT to begin with,
	slowLink  = 512 << 10        // bytes a second of what it carries beside
	mostRound = 3                // patience doubles with every round, so often
)

// patience returns how long one PUT may take. It begins short, so that a bucket
// that hangs does not eat the age that is left while another one would answer,
// and grows, so that a slow link is no bucket that hangs.
func (ts *targets) patience(maxAge time.Duration, size int64, round int) time.Duration {
	p := putBase + time.Duration(float64(size)/slowLink*float64(time.Second))
	p = min(p, max(maxAge/5, 5*time.Second))
	p = max(p, min(4*ts.takes, 2*p))
	return p << min(round, mostRound)
}

// What follows shares fallback's lock.

func (e *Engine) orderedTargets(j *job) []Target {
	e.fb.mu.Lock()
	defer e.fb.mu.Unlock()
	return e.fb.targets.ordered(time.Now(), e.s.Flare.Targets, j.reason == flare.Drill)
}

func (e *Engine) patience(j *job) time.Duration {
	e.fb.mu.Lock()
	defer e.fb.mu.Unlock()
	return e.fb.targets.patience(e.s.Ring.MaxAge, j.blob.Body().Len(), j.rounds)
}

func (e *Engine) putEnded(p putOf) {
	e.fb.mu.Lock()
	defer e.fb.mu.Unlock()
	e.fb.targets.put(time.Now(), p)
}

func (e *Engine) observeBucket(target string, err error) {
	e.telling.Lock()
	defer e.telling.Unlock()
	e.fb.mu.Lock()
	news, turned := e.fb.targets.changed(target, err)
	if turned {
		e.fb.proveLater(time.Now(), firstDrillWithin)
	}
	e.fb.mu.Unlock()
	if news && e.s.Observer.Bucket != nil {
		e.s.Observer.Bucket(target, err == nil, err)
	}
}

// observeKeys notes whether the fallback could seal, and tells of it when that, or
// the reason why not, is news.
func (e *Engine) observeKeys(err error) {
	e.fb.mu.Lock()
	e.fb.ready = err == nil
	e.fb.mu.Unlock()
	e.observeBucket("", err)
}
