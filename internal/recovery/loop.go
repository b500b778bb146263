package recovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Loop recovers the flares of one bucket. Make it with New.
type Loop struct {
	s      Settings
	bucket bucket.Bucket // with a bound on the time of every call

	// Owned by Run.
	keys       *Keys // as last asked for
	proven     bool  // the rights were proven since the last refusal
	passes     uint64
	acks       [frame.NumSignals]uint64 // records acked by this process
	memos      map[string]*memo         // by object key
	tries      map[string]*tries        // by flare id
	debts      map[string]bool          // try markers that are still to be removed
	cleanUntil time.Time                // when tidying up after the end of Run's context ends
	nevers     map[string]int           // objects that are never touched, at the last listing, by reason
	pace       pacer
	keeping    keeper
	round      round

	mu   sync.Mutex
	snap Snapshot // guarded by mu
}

// New returns a Loop that does nothing before Run.
func New(s Settings) *Loop {
	return &Loop{
		s: s, bucket: timed{s.Bucket},
		memos: map[string]*memo{}, debts: map[string]bool{}, nevers: map[string]int{},
		pace:    pacer{rate: s.MaxRate},
		keeping: newKeeper(),
		snap:    newSnapshot(),
	}
}

// Run lists and recovers until ctx ends. It is called once. When it returns,
// every call it made has ended; what was cut off is done again by the next
// process.
func (l *Loop) Run(ctx context.Context) {
	failed := 0
	l.cleanUntil = time.Time{}
	for ctx.Err() == nil {
		more, err := l.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		l.path(err)
		if isSlow(err) {
			l.proven = false // the refusal may be about a right that was taken away
		}
		wait := l.s.PollInterval
		switch {
		case err != nil:
			failed++
			wait = pause(err, failed, rand.Float64()) //nolint:gosec // spreads load, keeps no secret
		case more:
			failed, wait = 0, 0
		default:
			failed = 0
		}
		sleep(ctx, wait)
	}
}

// pass lists the bucket and visits what can be taken, until it is through or the
// path fails. more says that the bucket holds more pending flares than one pass
// takes on, and that this pass got somewhere.
func (l *Loop) pass(ctx context.Context) (more bool, err error) {
	l.passes++
	l.round = round{}
	l.keys = l.s.Keys()
	l.refresh(ctx)
	if err := l.listTries(ctx); err != nil {
		return false, err
	}
	found, err := l.list(ctx)
	if err != nil {
		return false, err
	}
	if err := l.prove(ctx); err != nil {
		return false, err
	}
	if err := l.keep(ctx); err != nil {
		return false, err
	}
	for _, o := range found.turns() {
		err := l.visit(ctx, o)
		l.recount(o)
		if err != nil {
			l.memo(o).failures++
			return false, err
		}
	}
	if err := l.judgeUnreadable(); err != nil {
		return false, err
	}
	return found.more && l.round.moved, nil
}

// recount keeps the number of pending flares true between two listings.
func (l *Loop) recount(o object) {
	if m := l.memos[o.Key]; o.pending && (m == nil || m.state != "") {
		l.update(func(s *Snapshot) { s.Pending-- })
	}
}

// round is what one pass learned about the bucket.
type round struct {
	moved      bool // an object reached another state, or left the bucket
	read       bool // an object could be read
	unreadable []unread
}

type unread struct {
	o   object
	err error
}

// judgeUnreadable tells one object that the store refuses to hand out (locked
// away, or encrypted with somebody else's key) from a right that is missing.
func (l *Loop) judgeUnreadable() error {
	if len(l.round.unreadable) > 0 && !l.round.read {
		return bucketPath(l.round.unreadable[0].err)
	}
	for _, u := range l.round.unreadable {
		l.wait(u.o, l.memo(u.o), reasonUnreadable, lookAgain, u.err)
	}
	return nil
}

// path reports a change of the path's state.
func (l *Loop) path(err error) {
	var changed bool
	l.update(func(s *Snapshot) {
		changed = partOf(s.PathError) != partOf(err)
		s.PathError = err
	})
	if changed && l.s.Observer.Path != nil {
		l.s.Observer.Path(err)
	}
}

func isSlow(err error) bool {
	p, ok := errors.AsType[*pathError](err)
	return ok && p.slow
}

func partOf(err error) string {
	if p, ok := errors.AsType[*pathError](err); ok {
		return p.part
	}
	return ""
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// pacer spreads bytes over time.
type pacer struct {
	rate int64 // bytes per second
	next time.Time
}

// wait returns when n more bytes may be sent.
func (p *pacer) wait(ctx context.Context, n int64) {
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	sleep(ctx, p.next.Sub(now))
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
}
