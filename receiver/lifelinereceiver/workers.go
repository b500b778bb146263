package lifelinereceiver

import (
	"context"
	"fmt"
	"sync"
)

// workers read and write requests, in goroutines that are used again. A write goes
// deep into the exporter; to grow the stack of a new goroutine for each cost a
// tenth of the CPU time. What they do may outlive its answer, so they count it.
type workers struct {
	next    chan func()
	idle    chan struct{}  // a token per worker that waits; its capacity bounds them
	closing chan struct{}  // closed when nothing begins any more
	running sync.WaitGroup // one per worker

	mu     sync.Mutex     // held while closing is closed, and one of these goes up
	reads  sync.WaitGroup // one per gRPC body being read
	writes sync.WaitGroup // one per request being written
}

const maxIdleWorkers = 64

func newWorkers() *workers {
	return &workers{next: make(chan func()), idle: make(chan struct{}, maxIdleWorkers), closing: make(chan struct{})}
}

// begin counts one more in kind, which is reads or writes, unless close was called.
func (w *workers) begin(kind *sync.WaitGroup) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed() {
		return false
	}
	kind.Add(1)
	return true
}

// run runs f, which has begun, in a worker, in a new one if none is idle.
func (w *workers) run(f func()) {
	select {
	case w.next <- f:
	default:
		w.running.Go(func() { w.work(f) })
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
		case <-w.closing:
			<-w.idle
			return
		}
	}
}

// close lets nothing begin any more, and ends the idle workers; the others end with
// what they do. It does not wait, and reports whether it was the first to be called.
func (w *workers) close() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed() {
		return false
	}
	close(w.closing)
	return true
}

func (w *workers) closed() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// written waits for the last write, no longer than ctx.
func (w *workers) written(ctx context.Context) error {
	done := make(chan struct{})
	var waiting sync.WaitGroup // ends with the last write, which nobody may wait for after ctx
	waiting.Go(func() {
		w.writes.Wait()
		close(done)
	})
	select {
	case <-done:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return fmt.Errorf("requests were cut off: %w", context.Cause(ctx))
	}
	return nil
}
