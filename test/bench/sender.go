package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Wire is how requests travel.
type Wire struct {
	GRPC        bool
	Compression string // "", gzip or zstd
}

// String returns grpc-none, http-zstd and so on.
func (w Wire) String() string {
	proto, compression := "http", "none"
	if w.GRPC {
		proto = "grpc"
	}
	if w.Compression != "" {
		compression = w.Compression
	}
	return proto + "-" + compression
}

// Message is a request as it goes over the wire, compressed and framed.
type Message struct {
	path string
	body []byte
}

// grpcPaths are the methods of OTLP/gRPC.
var grpcPaths = map[frame.Signal]string{
	frame.Traces:  "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
	frame.Metrics: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
	frame.Logs:    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}

// Prepare makes messages of export requests, once, before anything is measured.
func (w Wire) Prepare(s frame.Signal, requests [][]byte) ([]Message, error) {
	out := make([]Message, len(requests))
	for i, raw := range requests {
		body, err := w.compress(raw)
		if err != nil {
			return nil, err
		}
		out[i] = Message{path: s.HTTPPath(), body: body}
		if w.GRPC {
			framed := make([]byte, 5, 5+len(body))
			if w.Compression != "" {
				framed[0] = 1
			}
			binary.BigEndian.PutUint32(framed[1:], uint32(len(body))) //nolint:gosec // far below 4 GiB
			out[i] = Message{path: grpcPaths[s], body: append(framed, body...)}
		}
	}
	return out, nil
}

func (w Wire) compress(raw []byte) ([]byte, error) {
	var buf bytes.Buffer
	var z io.WriteCloser
	switch w.Compression {
	case "":
		return raw, nil
	case "gzip":
		z = gzip.NewWriter(&buf)
	case "zstd":
		enc, err := zstd.NewWriter(&buf, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		z = enc
	default:
		return nil, fmt.Errorf("unknown compression %q", w.Compression)
	}
	if _, err := z.Write(raw); err != nil {
		return nil, err
	}
	err := z.Close()
	return buf.Bytes(), err
}

// Sender is an OTLP client that sends messages as they are and never retries.
// Its methods may be called concurrently.
type Sender struct {
	base   string
	header http.Header
	client *http.Client
}

// NewSender returns a client for the listener at addr. The caller calls Close.
func NewSender(addr string, w Wire) *Sender {
	t := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 256, Protocols: new(http.Protocols)}
	s := &Sender{base: "http://" + addr, client: &http.Client{Transport: t}, header: http.Header{}}
	if w.GRPC {
		t.Protocols.SetUnencryptedHTTP2(true)
		s.header.Set("Content-Type", "application/grpc")
		s.header.Set("TE", "trailers")
		if w.Compression != "" {
			s.header.Set("Grpc-Encoding", w.Compression)
		}
		return s
	}
	t.Protocols.SetHTTP1(true)
	s.header.Set("Content-Type", "application/x-protobuf")
	if w.Compression != "" {
		s.header.Set("Content-Encoding", w.Compression)
	}
	return s
}

// Close closes the client's idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// ErrRefused is in the chain of Send's error if the server answered, and not
// with success.
var ErrRefused = errors.New("refused")

// Send sends one message and returns nil if it was acked.
func (s *Sender) Send(ctx context.Context, m Message) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+m.path, bytes.NewReader(m.body))
	if err != nil {
		return err
	}
	req.Header = s.header
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	code := resp.Trailer.Get("Grpc-Status")
	if code == "" {
		code = resp.Header.Get("Grpc-Status") // an answer of trailers only
	}
	if resp.StatusCode != http.StatusOK || code != "" && code != "0" {
		return fmt.Errorf("%w: status %d, gRPC code %q: %.100s %s", ErrRefused, resp.StatusCode, code, answer, resp.Trailer.Get("Grpc-Message"))
	}
	return nil
}

// Plan says how much is sent, and how fast.
type Plan struct {
	Requests int           // in all
	Workers  int           // how many wait for an answer at a time
	Every    time.Duration // the time between two requests; 0 for as fast as answers come
}

// Driven is what became of a plan.
type Driven struct {
	Acked, Refused int
	Elapsed        time.Duration
	latencies      []time.Duration // of acked requests, ascending
}

// Latency returns the quantile q, from 0 to 1, of the time to an ack.
func (d Driven) Latency(q float64) time.Duration {
	if len(d.latencies) == 0 {
		return 0
	}
	return d.latencies[min(int(q*float64(len(d.latencies))), len(d.latencies)-1)]
}

// Drive carries out a plan: it sends the messages in turn, over and over. A
// refused request is counted and not sent again. Any other failure is an error.
func (s *Sender) Drive(ctx context.Context, messages []Message, p Plan) (Driven, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, refused atomic.Int64
	var mu sync.Mutex
	var d Driven
	begin := time.Now()
	worker := func() {
		var mine []time.Duration
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= p.Requests || !pause(ctx, begin.Add(time.Duration(i)*p.Every)) {
				break
			}
			sent := time.Now()
			switch err := s.Send(ctx, messages[i%len(messages)]); {
			case err == nil:
				mine = append(mine, time.Since(sent))
			case errors.Is(err, ErrRefused):
				refused.Add(1)
			default:
				cancel(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		d.latencies = append(d.latencies, mine...)
	}
	var wg sync.WaitGroup
	for range p.Workers {
		wg.Go(worker)
	}
	wg.Wait()
	d.Elapsed = time.Since(begin)
	d.Acked, d.Refused = len(d.latencies), int(refused.Load())
	slices.Sort(d.latencies)
	return d, context.Cause(ctx)
}

// pause waits until at and reports whether ctx lasted as long.
func pause(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
