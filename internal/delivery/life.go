package delivery

import (
	"context"
	"errors"
	"sync"
	"time"
)

// life is the time of an engine from its start to its end. The methods may be
// called concurrently.
type life struct {
	bound time.Duration // of a shutdown
	ended chan struct{} // closed when the loop has ended

	// Set by start, before the loop begins.
	ctx    context.Context // of all that is sent and put
	cancel context.CancelFunc

	mu sync.Mutex
	// mu guards the following.
	started bool
	asked   time.Time // when the shutdown was asked for; zero: it was not
}

func newLife(bound time.Duration) life {
	return life{bound: bound, ended: make(chan struct{})}
}

// start begins a life. There is one.
func (l *life) start(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.started || !l.asked.IsZero() {
		return errors.New("the engine was started before")
	}
	l.started = true
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return nil
}

func (l *life) wasStarted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.started
}

// askEnd asks for the end. The first time counts. It returns whether there is
// something to end.
func (l *life) askEnd() (started bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked.IsZero() {
		l.asked = time.Now()
	}
	return l.started
}

// askedAt returns when the end was asked for first; the zero time: it was not.
func (l *life) askedAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// deadline returns when what is sent and put must end, once the end was asked for.
func (l *life) deadline() time.Time { return l.askedAt().Add(l.bound - l.margin()) }

// margin is the moment that what is cancelled at the deadline has to end in time.
func (l *life) margin() time.Duration { return min(l.bound/20, time.Second/2) }

// over reports whether an end that was asked for has no time left.
func (l *life) over(now time.Time) bool {
	return !now.Before(l.deadline()) || l.ctx.Err() != nil
}

// lastMoment is how long what was cancelled may take to notice: on a host that is
// busy more than any part of a short bound, and an ack that is here already counts.
const lastMoment = 3 * time.Second

// await waits for the end, for as long as it may take and ctx lasts, and then
// cancels what goes on. It reports whether the end came, lastMoment after that at
// the latest.
func (l *life) await(ctx context.Context) bool {
	limit := time.NewTimer(time.Until(l.askedAt().Add(l.bound)))
	defer limit.Stop()
	select {
	case <-l.ended:
		return true
	case <-ctx.Done():
	case <-limit.C:
	}
	l.cancel()
	last := time.NewTimer(lastMoment)
	defer last.Stop()
	select {
	case <-l.ended:
		return true
	case <-last.C:
		return false
	}
}
