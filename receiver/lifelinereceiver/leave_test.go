package lifelinereceiver

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/otel-lifeline/lifeline/internal/certtest"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// handling tells when a receiver begins to handle a request, and when it has done so,
// by the span that it makes of it.
type handling struct {
	noop.TracerProvider
	began, ended chan struct{}
}

type handlingTracer struct {
	noop.Tracer
	tells *handling
}

type handlingSpan struct {
	noop.Span
	tells *handling
}

func (h *handling) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return handlingTracer{tells: h}
}

func (t handlingTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if !strings.HasSuffix(name, "/TraceDataReceived") { // the server's own
		return t.Tracer.Start(ctx, name, options...)
	}
	t.tells.began <- struct{}{}
	span := handlingSpan{tells: t.tells}
	return trace.ContextWithSpan(ctx, span), span
}

func (s handlingSpan) End(...trace.SpanEndOption) { s.tells.ended <- struct{}{} }

// fullLane starts recovery's listener with a lane that has no room, as long as nobody
// leaves it, and with all the time in the world to answer.
func fullLane(t *testing.T, k *kafka, change ...func(*Config)) (*gateway, *handling) {
	t.Helper()
	h := &handling{began: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	set := receivertest.NewNopSettings(metadata.Type)
	set.TracerProvider = h
	cfg := testConfig(append([]func(*Config){func(c *Config) { c.TrustFlareHeaders, c.AckTimeout = true, time.Hour }}, change...)...)
	require.NoError(t, cfg.Validate())
	r, err := NewFactory().CreateLogs(t.Context(), set, cfg, k)
	require.NoError(t, err)
	g := startReceiver(t, r)
	g.lane = &lane{}
	for range int(widest) {
		require.Nil(t, g.lane.enter(t.Context(), nil))
	}
	return g, h
}

// requireGone asserts that a gateway holds nothing for a request that its lane held
// back, and that others are inside the lane.
func requireGone(t *testing.T, g *gateway, others int) {
	t.Helper()
	require.Empty(t, g.inflight.Snapshot())
	require.Equal(t, g.admission.total, g.admission.room())
	g.lane.mu.Lock()
	defer g.lane.mu.Unlock()
	require.Equal(t, others, g.lane.inside)
}

// requireHeldBack asserts that a request was held back, by what it leaves for whoever
// leaves the lane.
func requireHeldBack(t *testing.T, l *lane) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.NotNil(t, l.change)
}

// Over HTTP/2, which gRPC is too, a client that leaves while it is held back is gone
// at once.
func TestWhoLeavesTheLaneIsGone(t *testing.T) {
	raw := encoded(t, frame.Traces, 3)
	t.Run("grpc", func(t *testing.T) {
		k := &kafka{}
		g, h := fullLane(t, k)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		background(t, func() { call(ctx, g, raw) })
		<-h.began
		leave()
		<-h.ended
		requireHeldBack(t, g.lane)
		requireGone(t, g, int(widest))
		require.Empty(t, k.all())
	})
	t.Run("http/2", func(t *testing.T) {
		ours, dir := certtest.NewAuthority(t, "ours"), t.TempDir()
		server := configtls.ServerConfig{Config: configtls.Config{CertFile: filepath.Join(dir, "crt"), KeyFile: filepath.Join(dir, "key")}}
		cert, key := ours.Issue("gateway")
		require.NoError(t, os.WriteFile(server.CertFile, cert, 0o600))
		require.NoError(t, os.WriteFile(server.KeyFile, key, 0o600))
		k := &kafka{}
		g, h := fullLane(t, k, func(c *Config) { c.Protocols.HTTP.Get().TLS = configoptional.Some(server) })
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		transport := &http.Transport{TLSClientConfig: clientTLS(t, ours, ""), Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP2(true)
		defer transport.CloseIdleConnections()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+g.http.addr.String()+"/v1/traces", bytes.NewReader(raw))
		require.NoError(t, err)
		req.Header.Set("Content-Type", typeProto)
		failed := make(chan error, 1)
		background(t, func() {
			resp, err := transport.RoundTrip(req)
			if err == nil {
				_ = resp.Body.Close()
			}
			failed <- err
		})
		<-h.began
		leave()
		require.ErrorIs(t, <-failed, context.Canceled)
		<-h.ended
		requireHeldBack(t, g.lane)
		requireGone(t, g, int(widest))
		require.Empty(t, k.all())
	})
}

// begin sends the headers of a request over HTTP/1, and a part of its body.
func begin(t *testing.T, g *gateway, body []byte, part int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", g.http.addr.String())
	require.NoError(t, err)
	_, err = fmt.Fprintf(conn, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", typeProto, len(body), body[:part])
	require.NoError(t, err)
	return conn
}

// Over HTTP/1 nobody can see that a client has left as long as its body is unread. It
// holds no bytes until then, and its place until its turn comes, or until the answer is
// due. In its turn a body that did not come whole is refused; one that did is written.
func TestWhoLeavesTheLaneOverHTTP1(t *testing.T) {
	raw := encoded(t, frame.Traces, 3)
	t.Run("the answer is due", func(t *testing.T) {
		k := &kafka{}
		g, h := fullLane(t, k, func(c *Config) { c.AckTimeout, c.Admission.MaxWait = minAckTimeout, 10*time.Millisecond })
		conn := begin(t, g, raw, len(raw))
		<-h.began
		require.NoError(t, conn.Close())
		require.Equal(t, g.admission.total, g.admission.room(), "held back, it has no bytes")
		<-h.ended
		requireHeldBack(t, g.lane)
		requireGone(t, g, int(widest))
		require.Empty(t, k.all())
	})
	t.Run("its turn comes and the body is cut", func(t *testing.T) {
		k := &kafka{}
		g, h := fullLane(t, k)
		conn := begin(t, g, raw, len(raw)/2)
		<-h.began
		require.NoError(t, conn.Close())
		g.lane.leave(time.Now(), time.Now())
		<-h.ended
		requireGone(t, g, int(widest)-1)
		require.Empty(t, k.all())
	})
	t.Run("its turn comes and the body is whole", func(t *testing.T) {
		k, started, finish := slowKafka()
		g, h := fullLane(t, k)
		conn := begin(t, g, raw, len(raw))
		<-h.began
		require.NoError(t, conn.Close())
		g.lane.leave(time.Now(), time.Now())
		<-started
		now := g.inflight.Snapshot()
		require.Len(t, now, 1)
		require.Equal(t, inflight.Writing, now[0].Stage)
		<-h.ended // the server has seen it leave
		require.Equal(t, g.admission.total-now[0].Bytes, g.admission.room(), "the write goes on")
		finish <- nil
		g.workers.writes.Wait()
		requireGone(t, g, int(widest)-1)
		require.Len(t, k.all(), 1)
	})
}
