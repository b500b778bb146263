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
	used, err := p.CPU()
	if err != nil {
		return nil, err
	}
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { p.limit(share, used, quit) })
	return sync.OnceFunc(func() { close(quit); wg.Wait() }), nil
}

// burst is the CPU time that the child may be ahead, or save up.
const burst = 20 * time.Millisecond

func (p *Process) limit(share float64, used time.Duration, quit <-chan struct{}) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	allowed, last, stopped := used+burst, time.Now(), false
	for {
		select {
		case now := <-tick.C:
			allowed += time.Duration(share * float64(now.Sub(last)))
			last = now
		case <-p.done:
			return
		case <-quit:
			_ = p.cmd.Process.Signal(syscall.SIGCONT) // an error means it has ended
			return
		}
		used, err := p.CPU()
		if err != nil {
			continue // it has ended; done is about to be closed
		}
		allowed = min(allowed, used+burst)
		if over := used > allowed; over != stopped {
			sig := map[bool]syscall.Signal{true: syscall.SIGSTOP, false: syscall.SIGCONT}[over]
			if p.cmd.Process.Signal(sig) == nil {
				stopped = over
			}
		}
	}
}
