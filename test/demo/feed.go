package demo

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// spansPerSecond is how many spans the feed sends every second; linesPerSecond
// is the pace of the log file.
const (
	spansPerSecond = 50
	linesPerSecond = 10
)

// feed is the input that the host does not have by itself: a program that sends
// spans over OTLP and one that writes a log file. It owns its two goroutines
// from startFeed to stop.
type feed struct {
	url    string // the agent's OTLP/HTTP address for traces
	client *http.Client
	wg     sync.WaitGroup
	cancel context.CancelFunc

	mu    sync.Mutex
	acked [][]byte // requests the agent answered 200, as they were sent
	spans int64    // in them
	err   error    // of the log file
}

// startFeed begins to send spans to the agent at addr and to grow the log file.
func startFeed(ctx context.Context, addr, logFile string) (*feed, error) {
	f, err := os.OpenFile(logFile, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log file: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	fd := &feed{url: "http://" + addr + "/v1/traces", client: &http.Client{Timeout: 5 * time.Second}, cancel: cancel}
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

// count returns the number of spans that the agent has accepted.
func (f *feed) count() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spans
}

// sendSpans sends one request a second. What the agent did not take is sent
// again with the next one: every second's spans are accepted or still ours.
func (f *feed) sendSpans(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var pending [][]byte
	for second := uint64(0); ; second++ {
		pending = append(pending, spansOf(second, time.Now()))
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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(request))
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := f.client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked = append(f.acked, request)
	f.spans += spansPerSecond
	return true
}

// spansOf returns the spans of one second as an export request. Their ids
// count: the trace is the second, the span its place in the whole run.
func spansOf(second uint64, now time.Time) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("demo")
	for i := range uint64(spansPerSecond) {
		var traceID pcommon.TraceID
		var spanID pcommon.SpanID
		copy(traceID[:], "lifeline")
		binary.BigEndian.PutUint64(traceID[8:], second+1)
		binary.BigEndian.PutUint64(spanID[:], second*spansPerSecond+i+1)
		sp := ss.Spans().AppendEmpty()
		sp.SetTraceID(traceID)
		sp.SetSpanID(spanID)
		sp.SetName("POST /order")
		sp.SetKind(ptrace.SpanKindServer)
		sp.SetStartTimestamp(pcommon.NewTimestampFromTime(now))
		sp.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Duration(i+1) * time.Millisecond)))
		sp.Attributes().PutInt("order.items", int64(i%7+1)) //nolint:gosec // below 8
		sp.Attributes().PutStr("order.id", fmt.Sprintf("o-%06d-%02d", second, i))
	}
	var enc ptrace.ProtoMarshaler
	request, err := enc.MarshalTraces(td)
	if err != nil {
		panic("demo: internal error: " + err.Error()) // spans built above can be encoded
	}
	return request
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
