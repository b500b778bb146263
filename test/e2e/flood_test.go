package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/stack"
)

const (
	floodTime     = 8 * time.Second // at least, and until all of it has happened
	floodInflight = 256 << 20       // as shipped
	floodSilent   = 10_000          // connections that send half a request's head, and no more; fewer if files are limited
	floodStreams  = 2000            // gRPC calls on one connection that send half a message
)

// TestFlood attacks the shipped gateway from all sides at once. It must keep its
// memory within bounds, go on to serve honest clients, and ask those for whom
// there is no room to come again.
func TestFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("it opens thousands of connections")
	}
	s, err := stack.NewGateway(stack.Options{Otelcol: otelcol, Configs: configs, Dir: t.TempDir()})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, err)
	ctx := env.Within(t, 3*time.Minute)
	require.NoError(t, s.Gateway.Start(ctx))
	idle, err := s.Gateway.P.RSS()
	require.NoError(t, err)

	flood := &flood{s: s}
	attack, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	var attackers sync.WaitGroup
	attackers.Go(func() { flood.silent(attack) })
	attackers.Go(func() { flood.parked(attack) })
	for _, bomb := range bombs(t) {
		attackers.Go(func() { flood.bombs(attack, bomb) })
	}
	good, bad := largeRequest(), make([]byte, 19<<20)
	for range 16 {
		attackers.Go(func() { flood.large(attack, bad) })
		attackers.Go(func() { flood.endless(attack) })
	}
	for range 4 {
		attackers.Go(func() { flood.large(attack, good) })
	}
	var honest sync.WaitGroup
	for client := range uint64(4) {
		honest.Go(func() { flood.honest(attack, client) })
	}
	peak := flood.watchMemory(t, attack)
	stop()
	honest.Wait()
	attackers.Wait()

	bound := int64(2*floodInflight + 150<<20)
	t.Logf("resident memory: %d MiB idle, %d MiB at most, bound %d MiB; silent connections %d, parked streams %d, bombs refused %d, large bodies %d, endless %d, asked to come again %d; honest requests acked %d, slowest %s",
		idle>>20, peak>>20, bound>>20, flood.open.Load(), flood.streams.Load(), flood.bombsRefused.Load(), flood.largeSent.Load(),
		flood.endlessCut.Load(), flood.refused.Load(), flood.acked.Load(), time.Duration(flood.slowest.Load()).Round(time.Millisecond))
	require.Less(t, peak, bound)
	require.Empty(t, flood.missing(), "what the flood had none of")
	require.Zero(t, flood.wrong.Load(), "answers that are none of the table's")

	status, _, err := stack.Post(ctx, s.Addr.GatewayHTTP, frame.Traces, stack.Spans(1<<40, time.Now()))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, "after the flood all is as before")
	n := s.Kafka.HighWater()
	require.GreaterOrEqual(t, n[0], flood.acked.Load()+1, "what was acked is in Kafka")
}

// flood is what was sent, and what came of it.
type flood struct {
	s                                   *stack.Stack
	open, streams                       atomic.Int64
	bombsRefused, largeSent, endlessCut atomic.Int64
	refused, wrong, acked               atomic.Int64
	slowest                             atomic.Int64 // ns until an honest request was acked, retries included
}

// missing names what has not happened yet.
func (f *flood) missing() (names []string) {
	for name, n := range map[string]*atomic.Int64{
		"silent connections": &f.open, "parked streams": &f.streams, "bombs": &f.bombsRefused, "large bodies": &f.largeSent,
		"endless bodies": &f.endlessCut, "requests to come again": &f.refused, "honest requests acked": &f.acked,
	} {
		if n.Load() == 0 {
			names = append(names, name)
		}
	}
	return names
}

// watchMemory returns the most resident memory the gateway had in the flood. It
// returns when floodTime is over and nothing is missing, or with ctx.
func (f *flood) watchMemory(t *testing.T, ctx context.Context) (peak int64) { //nolint:revive // the test comes first
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for begin := time.Now(); time.Since(begin) < floodTime || len(f.missing()) > 0; {
		rss, err := f.s.Gateway.P.RSS()
		require.NoError(t, err, "the gateway lives")
		peak = max(peak, rss)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return peak
		}
	}
	return peak
}

// post sends a body of a size that is not known before, and sorts the answer.
func (f *flood) post(ctx context.Context, body io.Reader, encoding string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.s.Addr.GatewayHTTP+"/v1/traces", body)
	if err != nil {
		return 0
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0 // cut off in the middle of the body
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
		f.refused.Add(1)
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusRequestEntityTooLarge:
		f.wrong.Add(1)
	}
	return resp.StatusCode
}

// honest sends small requests one after the other, each until it is acked.
func (f *flood) honest(ctx context.Context, client uint64) {
	for n := client << 32; ctx.Err() == nil; n++ {
		request, begin := stack.Spans(n, time.Now()), time.Now()
		for ctx.Err() == nil {
			if f.post(ctx, bytes.NewReader(request), "") == http.StatusOK {
				f.acked.Add(1)
				f.slowest.Store(max(f.slowest.Load(), int64(time.Since(begin))))
				break
			}
		}
	}
}

type bomb struct {
	encoding string
	body     []byte
}

// bombs are small bodies that become 256 MiB, or say so.
func bombs(t *testing.T) []bomb {
	t.Helper()
	zeros := make([]byte, 1<<20)
	all := []bomb{{"snappy", append(binary.AppendUvarint(nil, 256<<20), 0, 0)}}
	for encoding, open := range map[string]func(io.Writer) io.WriteCloser{
		"gzip":            func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"x-snappy-framed": func(w io.Writer) io.WriteCloser { return s2.NewWriter(w, s2.WriterSnappyCompat()) },
		"zstd": func(w io.Writer) io.WriteCloser {
			z, err := zstd.NewWriter(w, zstd.WithWindowSize(8<<20))
			require.NoError(t, err)
			return z
		},
	} {
		var buf bytes.Buffer
		z := open(&buf)
		for range 256 {
			_, err := z.Write(zeros)
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		all = append(all, bomb{encoding, buf.Bytes()})
	}
	return all
}

func (f *flood) bombs(ctx context.Context, b bomb) {
	for ctx.Err() == nil {
		switch f.post(ctx, bytes.NewReader(b.body), b.encoding) {
		case http.StatusRequestEntityTooLarge, http.StatusBadRequest:
			f.bombsRefused.Add(1)
		case http.StatusOK:
			f.wrong.Add(1)
		}
	}
}

// largeRequest returns spans of nearly the largest size that is taken.
func largeRequest() (request []byte) {
	for n := uint64(1) << 50; len(request) < 19<<20; n++ {
		request = append(request, stack.Spans(n, time.Now())...)
	}
	return request
}

// large sends a large body over and over.
func (f *flood) large(ctx context.Context, body []byte) {
	for ctx.Err() == nil {
		f.post(ctx, bytes.NewReader(body), "")
		f.largeSent.Add(1)
	}
}

// endless sends bodies without a length that never end.
func (f *flood) endless(ctx context.Context) {
	for ctx.Err() == nil {
		f.post(ctx, &forever{ctx}, "")
		f.endlessCut.Add(1)
	}
}

// forever reads zeros until its context ends.
type forever struct{ ctx context.Context }

func (r *forever) Read(p []byte) (int, error) {
	clear(p)
	return len(p), r.ctx.Err()
}

// silentConnections leaves some of the files that a process may open to everyone else.
func silentConnections() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 100
	}
	return int(min(floodSilent, limit.Cur/2))
}

// silent opens connections, sends the beginning of a request on each, and waits.
func (f *flood) silent(ctx context.Context) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for i := 0; i < silentConnections() && ctx.Err() == nil; i++ {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.s.Addr.GatewayHTTP)
		if err != nil {
			break
		}
		conns = append(conns, conn)
		head := "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Le"
		if i%2 == 0 {
			head += "ngth: 20000000\r\n\r\nhalf"
		}
		_, _ = io.WriteString(conn, head)
		f.open.Add(1)
	}
	<-ctx.Done()
}

// parked opens calls on one connection, sends half a message on each, without
// regard to what the server allows, and waits.
func (f *flood) parked(ctx context.Context) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", f.s.Addr.GatewayGRPC)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	half := append([]byte{0, 0x01, 0x30, 0, 0}, make([]byte, 16<<10-5)...) // of 19 MiB
	for i := 0; i < floodStreams && ctx.Err() == nil; i++ {
		head.Reset()
		for _, h := range [][2]string{
			{":method", "POST"},
			{":scheme", "http"},
			{":authority", "x"},
			{":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"},
			{"content-type", "application/grpc"},
			{"te", "trailers"},
		} {
			_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
		}
		id := uint32(2*i + 1)
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true}) != nil ||
			framer.WriteData(id, false, half) != nil {
			break // the server has had enough
		}
		f.streams.Add(1)
	}
	<-ctx.Done()
}
