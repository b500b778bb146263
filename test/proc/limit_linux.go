package proc

import (
	"sync"
	"syscall"
	"time"
)

// Limit lets the child use no more than share of one CPU, as a cgroup's quota
// would, by stopping and continuing it. It needs no rights. It ends with the
// child or, if that is earlier, when the returned function is called.
func (p *Process) Limit(share float64) (end func(), err error) {
	_, end, err = p.startLimit(share)
	return end, err
}

// limiter holds a child to its share.
type limiter struct {
	p     *Process
	share float64
	// blind is the longest time in which it did not look, because others had the
	// CPU: so much the child can have used beside its share. Owned by its goroutine.
	blind time.Duration
}

func (p *Process) startLimit(share float64) (l *limiter, end func(), err error) {
	used, err := p.CPU()
	if err != nil {
		return nil, nil, err
	}
	l = &limiter{p: p, share: share}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { l.run(used, quit) })
	return l, sync.OnceFunc(func() { close(quit); wg.Wait() }), nil
}

// burst is the CPU time that the child may be ahead, or save up.
const burst = 20 * time.Millisecond

func (l *limiter) run(used time.Duration, quit <-chan struct{}) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	allowed, last, stopped := used+burst, time.Now(), false
	for {
		ended := false
		select {
		case <-tick.C:
		case <-l.p.done:
			return
		case <-quit:
			ended = true
		}
		now := time.Now()
		allowed += time.Duration(l.share * float64(now.Sub(last)))
		l.blind, last = max(l.blind, now.Sub(last)), now
		if ended {
			_ = l.p.cmd.Process.Signal(syscall.SIGCONT) // an error means it has ended
			return
		}
		used, err := l.p.CPU()
		if err != nil {
			continue // it has ended; done is about to be closed
		}
		allowed = min(allowed, used+burst)
		if over := used > allowed; over != stopped {
			sig := map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[over]
			if l.p.cmd.Process.Signal(sig) == nil {
				stopped = over
			}
		}
	}
}
