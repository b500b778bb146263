package recovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Loop recovers the flares of one bucket. Make it with New.
type Loop struct {
	s      Settings
	bucket *timed
	board  // guards itself

	state sync.Mutex // held by Run and by every visit, but not while they wait
	// state guards the following.
	keys    *Keys                    // as last asked for
	proven  bool                     // the rights were proven since the last refusal
	acks    [frame.NumSignals]uint64 // records acked by this process
	memos   map[string]*memo         // by object key
	tries   tryMarkers
	leases  leases
	line    line
	pace    pacer
	keeping keeper
	round   round
}

// New returns a Loop that does nothing before Run.
func New(s Settings) *Loop {
	if s.Random == nil {
		s.Random = rand.Float64
	}
	if s.NewID == nil {
		s.NewID = frame.RandomHex
	}
	l := &Loop{
		s:       s,
		board:   newBoard(),
		memos:   map[string]*memo{},
		tries:   newTryMarkers(),
		leases:  leases{me: s.NewID()},
		line:    line{cutting: make(chan struct{}, 1)},
		pace:    newPacer(s),
		keeping: newKeeper(),
	}
	l.keeping.shared = s.Lease
	l.bucket = &timed{store: s.Bucket, outside: l.outside}
	return l
}

// outside does what needs no state, without the lock: whatever waits, and
// whatever works on bytes.
func (l *Loop) outside(do func()) {
	l.state.Unlock()
	defer l.state.Lock()
	do()
}

// Run lists and recovers until ctx ends. It may be called again after it
// returned, and remembers what it did. When it returns, every call it made has
// ended; what was cut off is done again by the next Run or process.
func (l *Loop) Run(ctx context.Context) {
	l.state.Lock()
	defer l.state.Unlock()
	l.bucket.tidyUntil = time.Time{}
	if l.s.Lease {
		var renewals sync.WaitGroup
		renewals.Go(func() { l.keepLeases(ctx) })
		defer func() {
			l.outside(renewals.Wait)
			l.leave(ctx)
		}()
	}
	l.goOn(ctx)
}

// goOn makes passes until ctx ends.
func (l *Loop) goOn(ctx context.Context) {
	failed := 0
	for ctx.Err() == nil {
		more, err := l.pass(ctx)
		if ctx.Err() != nil {
			return
		}
		l.path(err)
		if isSlow(err) {
			l.proven = false // the refusal may be about a right that was taken away
		}
		l.pace.passed(err)
		wait := l.s.PollInterval
		switch {
		case err != nil:
			failed++
			wait = pause(err, failed, l.s.Random())
		case more:
			failed, wait = 0, 0
		default:
			failed = 0
		}
		l.outside(func() { sleep(ctx, wait) })
	}
}

// pass lists the bucket and visits what can be taken, until it is through or the
// path fails. more says that the bucket holds more flares that are pending, or that
// other keys may open, than one pass takes on, and that this pass got somewhere.
func (l *Loop) pass(ctx context.Context) (more bool, err error) {
	l.round = round{n: l.round.n + 1}
	l.keys = l.s.Keys()
	l.refresh(ctx)
	if l.s.Lease && l.heldShards() == 0 {
		l.renewLeases(ctx) // at the start, or when keys or credentials have come
	}
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
	if err := l.leases.err; err != nil && l.s.Lease && l.heldShards() == 0 {
		return false, bucketPath(err)
	}
	l.round.began = time.Now()
	if err := l.visitAll(ctx, found.unmarked); err != nil {
		return false, err
	}
	if err := l.visitAll(ctx, found.turns()); err != nil {
		return false, err
	}
	if err := l.judgeUnreadable(); err != nil {
		return false, err
	}
	return found.more && l.round.moved, nil
}

// visitAll visits objects, as many at a time as there is room for, until a visit
// breaks the path. When it returns, all of them have ended.
func (l *Loop) visitAll(ctx context.Context, turns []object) error {
	var visits sync.WaitGroup
	ended := sync.NewCond(&l.state) // a visit
	for _, o := range turns {
		suspect := l.tries.of(o.id).suspect()
		for !l.pace.roomFor(o.Size, suspect) {
			ended.Wait()
		}
		if ctx.Err() != nil || l.round.broken != nil {
			break
		}
		l.pace.busy.add(1, o)
		l.pace.busy.alone = suspect
		visits.Go(func() {
			l.state.Lock()
			defer l.state.Unlock()
			l.visitOne(ctx, o)
			l.pace.busy.add(-1, o)
			ended.Broadcast()
		})
	}
	l.outside(visits.Wait)
	return l.round.broken
}

// visitOne visits an object and notes what came of it.
func (l *Loop) visitOne(ctx context.Context, o object) {
	err := l.visit(ctx, o)
	l.recount(o)
	if ctx.Err() == nil && l.breaks(err) {
		l.memo(o).failures++
	}
}

// breaks reports whether an error is the path's, and ends the pass if it is.
func (l *Loop) breaks(err error) bool {
	if err == nil || errors.Is(err, errHalted) || errors.Is(err, errNotOurs) || errors.Is(err, errStopped) {
		return false
	}
	if l.round.broken == nil {
		l.round.broken = err
	}
	return true
}

// What ends a visit and is nobody's fault.
var (
	errHalted  = errors.New("another flare broke the path")
	errNotOurs = errors.New("the lease of its shard has ended")
	errStopped = errors.New("Run was told to stop")
)

// recount keeps the number of pending flares true between two listings.
func (l *Loop) recount(o object) {
	if m := l.memos[o.Key]; o.pending && (m == nil || m.state != "") {
		l.update(func(s *Snapshot) { s.Pending-- })
	}
}

// round is what one pass learned about the bucket.
type round struct {
	n          uint64    // the number of the pass
	began      time.Time // with its visits
	broken     error     // the first path failure
	moved      bool      // an object reached another state, or left the bucket
	read       bool      // an object could be read
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
		changed = troubleOf(s.PathError) != troubleOf(err)
		s.PathError = err
	})
	if changed && l.s.Observer.Path != nil {
		l.s.Observer.Path(err)
	}
}

// goesOn is told that a flare was recovered. The pass it belongs to may take hours, and
// the path is well long before its end. A path that breaks down again and again is
// not: it never is well for as long as the longest pause after a failure.
func (l *Loop) goesOn() {
	if l.round.broken == nil && time.Since(l.round.began) > maxBackoff {
		l.path(nil)
	}
}

func isSlow(err error) bool {
	p, ok := errors.AsType[*pathError](err)
	return ok && p.slow
}

// troubleOf names the trouble that err is of the path: whose, and what kind. Of one
// trouble no two errors need have the same text.
func troubleOf(err error) string {
	if p, ok := errors.AsType[*pathError](err); ok {
		return p.part + " " + p.class
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
