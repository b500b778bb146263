package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/proc"
)

// sink is an OTLP/HTTP server in the test. What it acks goes into a ledger, on
// the side where Kafka stands elsewhere. It can be told to misbehave.
type sink struct {
	addr string
	t    *testing.T

	mu sync.Mutex
	// mu guards the following.
	ledger audit.Ledger
	more   chan struct{} // closed and replaced at every acked request
	answer http.HandlerFunc
	wrong  int // requests that got answer
}

// newSink starts a sink that behaves as answer does, or well if that is nil.
func newSink(t *testing.T, answer http.HandlerFunc) *sink {
	t.Helper()
	addrs, err := proc.FreeAddrs(1)
	require.NoError(t, err)
	s := &sink{addr: addrs[0], t: t, more: make(chan struct{}), answer: answer}
	l, err := net.Listen("tcp", s.addr)
	require.NoError(t, err)
	srv := &http.Server{Handler: s} //nolint:gosec // loopback
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { require.NoError(t, srv.Close()); wg.Wait() })
	return s
}

// heal makes the sink behave from now on and returns how many requests met the
// misbehaviour.
func (s *sink) heal() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = nil
	return s.wrong
}

// accept notes a request that the sink must get in the end.
func (s *sink) accept(signal frame.Signal, request []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	require.NoError(s.t, s.ledger.Accept(signal, request))
}

// waitAll blocks until every accepted record of the signal has come, and
// requires that nothing was altered.
func (s *sink) waitAll(ctx context.Context, signal frame.Signal) {
	s.t.Helper()
	for {
		s.mu.Lock()
		row, more := s.ledger.Row(signal), s.more
		s.mu.Unlock()
		if row.Lost == 0 {
			require.True(s.t, row.OK(), "%+v", row)
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			require.FailNow(s.t, "records are missing", "%+v: %v", row, ctx.Err())
		}
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := s.take(r)
	s.mu.Lock()
	answer := s.answer
	if answer != nil {
		s.wrong++
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusTeapot) // never an answer that OTLP knows
	case answer != nil:
		answer(w, r)
	default:
		s.book(r.URL.Path, body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}
}

func (s *sink) book(path string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, signal := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		if path == signal.HTTPPath() {
			if err := s.ledger.Kafka(signal, body, ""); err != nil {
				s.t.Errorf("the sink got what is no OTLP: %v", err)
			}
		}
	}
	close(s.more)
	s.more = make(chan struct{})
}

func (s *sink) take(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "":
		return body, nil
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case "zstd":
		z, err := zstd.NewReader(nil)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return z.DecodeAll(body, nil)
	default:
		return nil, fmt.Errorf("unknown encoding %q", encoding)
	}
}
