package lifelinereceiver

import (
	"context"
	"sync"
	"time"
)

// lane lets what recovery sends pass beside what agents send. That agents' acks
// take no longer than they did is worth more than that a backlog is gone soon: so
// of the acks that come while recovery sends, 1 in 100 may take more than patience
// times what 1 in 100 takes while it does not. The window, how much of recovery's
// there is at a time, opens and closes until it is so. While no agent sends, it is
// wide open. A process has one lane, for its processors and its Kafka client are
// what both share. The zero value is ready. Its methods may be called concurrently.
type lane struct {
	mu     sync.Mutex
	live   time.Time     // agents send until then, as far as is known
	quiet  time.Duration // 1 in 100 acks took longer, while recovery sent nothing
	raised time.Time     // when quiet last grew
	quick  int           // acks below it since
	rested time.Time     // when recovery last paused so that quiet can be measured
	window float64       // requests at a time; below 1, the part of the time in which there is one
	inside int           // requests of recovery now
	left   time.Time     // when the last of them left
	next   time.Time     // when the next may enter
	change chan struct{} // closed when one leaves; nil: nobody waits for it
}

const (
	patience   = 1.25
	widest     = 16.0
	narrowest  = 1.0 / 8
	opening    = 0.25             // the window when agents begin to send
	liveFor    = 2 * time.Second  // for which an ack says that agents do, besides the time it took
	longestGap = time.Second      // between two requests of recovery
	restEach   = 30 * time.Second // how often there is such a gap though the window is 1 or more

	severalQuick = 20 // acks that show that a stall is over

	// With these steps a value stays where it is when 1 ack in 100 is slow.
	slower, faster = 0.10, 0.10 / 99
)

// acked notes an ack to an agent whose request came at began.
func (l *lane) acked(began, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.After(l.live) {
		l.window = opening
	}
	took := now.Sub(began)
	if until := now.Add(liveFor + took); until.After(l.live) {
		l.live = until
	}
	beside := l.inside > 0 || l.left.After(began)
	switch {
	case beside && float64(took) > patience*float64(l.quiet):
		l.window = max(l.window*(1-slower), narrowest)
	case beside:
		l.window = min(l.window*(1+faster), widest)
	case l.quiet == 0:
		l.raise(took, now)
	case took > l.quiet:
		// What a stall held up comes all at once: that is one slow ack, not hundreds.
		if began.After(l.raised) || l.quick >= severalQuick {
			l.raise(time.Duration(float64(l.quiet)*(1+slower)), now)
		}
	default:
		l.quick++
		l.quiet = time.Duration(float64(l.quiet) * (1 - faster))
	}
}

func (l *lane) raise(quiet time.Duration, now time.Time) {
	l.quiet, l.raised, l.quick = quiet, now, 0
}

// open returns the window as it is now.
func (l *lane) open() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at(time.Now())
}

// room returns how many requests recovery may have on their way.
func (l *lane) room() int { return requests(l.open()) }

func (l *lane) at(now time.Time) float64 {
	if now.After(l.live) {
		return widest
	}
	return l.window
}

func requests(window float64) int { return max(int(window), 1) }

// enter returns nil when a request of recovery may pass: the caller calls leave
// then. Otherwise it says why not: ctx is done, or the gateway closes.
func (l *lane) enter(ctx context.Context, closing <-chan struct{}) *refusal {
	for {
		wait, changed := l.try(time.Now())
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		var refused *refusal
		select {
		case <-changed:
		case <-timer.C:
		case <-closing:
			refused = errClosing
		case <-ctx.Done():
			refused = errBusy
		}
		if timer.Stop(); refused != nil {
			return refused
		}
	}
}

// try enters, or returns how long to wait at most and what may end it sooner.
func (l *lane) try(now time.Time) (wait time.Duration, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait = l.next.Sub(now)
	if l.inside >= requests(l.at(now)) {
		wait = longestGap
	}
	if wait > 0 {
		if l.change == nil {
			l.change = make(chan struct{})
		}
		return wait, l.change
	}
	l.inside++
	return 0, nil
}

// leave notes that a request which entered at a time is done.
func (l *lane) leave(entered, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inside--
	l.left = now
	switch w := l.at(now); {
	case w < 1:
		l.next = now.Add(min(time.Duration(float64(now.Sub(entered))*(1/w-1)), longestGap))
	case now.Before(l.live) && now.Sub(l.rested) > restEach:
		// Without a gap quiet would stay what it was when the backlog began: often
		// the end of an outage, when acks took their time.
		l.next, l.rested = now.Add(longestGap), now
	}
	if l.change != nil {
		close(l.change)
		l.change = nil
	}
}
