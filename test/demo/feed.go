package demo

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// linesPerSecond is the pace of the log file.
const linesPerSecond = 10

// feed is the input that the host does not have by itself: a program that sends
// spans over OTLP and one that writes a log file. It owns its two goroutines
// from startFeed to stop.
type feed struct {
	addr   string // the agent's OTLP/HTTP listener
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu    sync.Mutex
	acked [][]byte // requests the agent answered 200, as they were sent
	err   error    // of the log file
}

// startFeed begins to send spans to the agent at addr and to grow the log file.
func startFeed(ctx context.Context, addr, logFile string) (*feed, error) {
	f, err := os.OpenFile(logFile, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600) //nolint:gosec // the demo's own file
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	fd := &feed{addr: addr, cancel: cancel}
	fd.wg.Go(func() { fd.sendSpans(ctx) })
	fd.wg.Go(func() { fd.growLog(ctx, f) })
	return fd, nil
}

// stop ends the feed after its last request was answered, and returns what the
// agent accepted.
func (f *feed) stop() ([][]byte, error) {
	f.cancel()
	f.wg.Wait()
	return f.acked, f.err
}

// sendSpans sends one request a second. What the agent did not take is sent
// again with the next one: every second's spans are accepted or still ours.
func (f *feed) sendSpans(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var pending [][]byte
	for second := uint64(0); ; second++ {
		pending = append(pending, stack.Spans(second, time.Now()))
		for len(pending) > 0 && f.post(context.WithoutCancel(ctx), pending[0]) {
			pending = pending[1:]
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *feed) post(ctx context.Context, request []byte) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	status, _, err := stack.Post(ctx, f.addr, frame.Traces, request)
	if err != nil || status != http.StatusOK {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = append(f.acked, request)
	return true
}

// growLog writes numbered lines until ctx ends.
func (f *feed) growLog(ctx context.Context, file *os.File) {
	tick := time.NewTicker(time.Second / linesPerSecond)
	defer tick.Stop()
	var err error
	for n := 1; err == nil && ctx.Err() == nil; n++ {
		_, err = fmt.Fprintf(file, "%s INFO checkout line %06d: order taken\n", time.Now().UTC().Format(time.RFC3339Nano), n)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; f.err == nil {
		f.err = file.Close()
	}
}
