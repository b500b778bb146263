package lifelinereceiver

import (
	"container/list"
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

var errFull = errors.New("too many bytes in flight")

// admission bounds the bytes of all requests in flight. Whoever waits holds
// nothing, and is served in the order of arrival. It also bounds how many are
// decompressed, converted or checked at once, for what that takes on top.
type admission struct {
	total      int64
	maxWait    time.Duration
	processors chan struct{} // a token per request that has one; its capacity is their number

	mu      sync.Mutex
	free    int64     // mu guards the following
	waiters list.List // of *waiter
}

type waiter struct {
	n     int64
	ready chan struct{} // closed when n bytes are the waiter's
}

func newAdmission(cfg AdmissionConfig) *admission {
	total := int64(cfg.MaxInflight)
	return &admission{total: total, maxWait: cfg.MaxWait, processors: make(chan struct{}, runtime.GOMAXPROCS(0)), free: total}
}

// takeProcessor waits for a processor until ctx is done. The caller gives it back
// unless there is an error.
func (a *admission) takeProcessor(ctx context.Context) error {
	select {
	case a.processors <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errBusy
	}
}

func (a *admission) giveProcessor() { <-a.processors }

// acquire reserves n bytes. It waits at most maxWait and no longer than ctx.
func (a *admission) acquire(ctx context.Context, n int64) (*reservation, error) {
	a.mu.Lock()
	if a.waiters.Len() == 0 && a.free >= n {
		a.free -= n
		a.mu.Unlock()
		return &reservation{admission: a, bytes: n}, nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	place := a.waiters.PushBack(w)
	a.mu.Unlock()

	timer := time.NewTimer(a.maxWait)
	defer timer.Stop()
	select {
	case <-w.ready:
		return &reservation{admission: a, bytes: n}, nil
	case <-timer.C:
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-w.ready: // it came at the last moment
		return &reservation{admission: a, bytes: n}, nil
	default:
	}
	a.waiters.Remove(place)
	a.wake() // whoever is behind may need less
	return nil, errFull
}

// put gives n bytes back.
func (a *admission) put(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free += n
	a.wake()
}

// wake serves waiters from the front as long as there is room. The caller holds mu.
func (a *admission) wake() {
	for front := a.waiters.Front(); front != nil; front = a.waiters.Front() {
		w := front.Value.(*waiter)
		if w.n > a.free {
			return
		}
		a.free -= w.n
		a.waiters.Remove(front)
		close(w.ready)
	}
}

// reservation is the bytes that one request holds. One goroutine at a time uses it.
type reservation struct {
	admission *admission
	bytes     int64
}

// resize makes the reservation n bytes. Shrinking always works; growing never
// waits, because a request that waits while it holds can wait for itself.
func (r *reservation) resize(n int64) bool {
	if n <= r.bytes {
		r.admission.put(r.bytes - n)
		r.bytes = n
		return true
	}
	r.admission.mu.Lock()
	defer r.admission.mu.Unlock()
	if more := n - r.bytes; r.admission.free >= more {
		r.admission.free -= more
		r.bytes = n
		return true
	}
	return false
}

// need makes sure that n bytes are reserved. It tells a request that can never
// have them from one that may come again.
func (r *reservation) need(n int64) error {
	if n > r.admission.total {
		return tooLarge("with the memory it takes to process it, the request is")
	}
	if n > r.bytes && !r.resize(n) {
		return errBusy
	}
	return nil
}

// release gives everything back.
func (r *reservation) release() { r.resize(0) }
