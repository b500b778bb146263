package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Sink is an OTLP server, gRPC and HTTP on one address, that acks whatever comes
// and decodes none of it. It runs in this process: its CPU time is not the
// measured process's.
type Sink struct {
	addr                   string
	server                 *http.Server
	wg                     sync.WaitGroup
	requests, bytes, items atomic.Int64
}

// StartSink starts a sink on addr ("" for a free port of 127.0.0.1). It runs
// until Close.
func StartSink(ctx context.Context, addr string) (*Sink, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start the sink: %w", err)
	}
	s := &Sink{addr: l.Addr().String()}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.server = &http.Server{Handler: s, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	s.wg.Go(func() { _ = s.server.Serve(l) }) // ends with Close
	return s, nil
}

// Addr returns host:port.
func (s *Sink) Addr() string { return s.addr }

// Requests returns how many requests were acked.
func (s *Sink) Requests() int64 { return s.requests.Load() }

// Bytes returns the bytes of all acked bodies as they came over the wire.
func (s *Sink) Bytes() int64 { return s.bytes.Load() }

// Framed returns the items of all acked requests that said in a lifeline-frame
// header how many they hold.
func (s *Sink) Framed() int64 { return s.items.Load() }

// Close ends the sink and all its connections.
func (s *Sink) Close() error {
	err := s.server.Close()
	s.wg.Wait()
	return err
}

// ServeHTTP implements http.Handler.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // half a request gets no ack
	}
	if h, err := frame.ParseHeader(r.Header.Get(frame.HeaderFrame)); err == nil {
		s.items.Add(h.Items)
	}
	s.bytes.Add(n)
	s.requests.Add(1)
	if r.Header.Get("Content-Type") != "application/grpc" {
		w.Header().Set("Content-Type", "application/x-protobuf")
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(make([]byte, 5)) // an empty message, not compressed
	w.Header().Set("Grpc-Status", "0")
}
