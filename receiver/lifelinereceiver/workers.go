package lifelinereceiver

import "sync"

// workers run requests in goroutines that are used again. A write goes deep into
// the exporter; to grow the stack of a new goroutine for each cost a tenth of the
// CPU time.
type workers struct {
	wg   sync.WaitGroup
	next chan func()
	idle chan struct{} // a token per worker that waits; its capacity bounds them
	stop chan struct{}
}

const maxIdleWorkers = 64

func newWorkers() *workers {
	return &workers{next: make(chan func()), idle: make(chan struct{}, maxIdleWorkers), stop: make(chan struct{})}
}

// run runs f in a worker, in a new one if none is idle.
func (w *workers) run(f func()) {
	select {
	case w.next <- f:
	default:
		w.wg.Go(func() { w.work(f) })
	}
}

// work runs f, and then what comes next, unless enough others wait for it.
func (w *workers) work(f func()) {
	for {
		f()
		select {
		case w.idle <- struct{}{}:
		default:
			return
		}
		select {
		case f = <-w.next:
			<-w.idle
		case <-w.stop:
			<-w.idle
			return
		}
	}
}

// close ends the idle workers; the others end with what they do. It does not
// wait, and must be called once, after the last run.
func (w *workers) close() { close(w.stop) }
