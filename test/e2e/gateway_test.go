package e2e

import (
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// TestGarbageOnBothPorts: what is no OTLP gets an answer or is cut off, nothing
// of it reaches Kafka, and good requests pass as if nothing had been.
func TestGarbageOnBothPorts(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	require.NoError(t, s.Gateway.Start(ctx))
	for _, addr := range []string{s.Addr.GatewayGRPC, s.Addr.GatewayHTTP} {
		for _, garbage := range [][]byte{random(t, 1<<16), []byte("GET / HTTP/1.1\r\n\r\n"), []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + string(random(t, 4096)))} {
			sendRaw(t, addr, garbage)
		}
	}
	for _, tc := range []struct {
		contentType, encoding, body string
		want                        int
	}{
		{"application/x-protobuf", "", string(random(t, 4096)), http.StatusBadRequest},
		{"application/json", "", "<html>", http.StatusBadRequest},
		{"application/x-protobuf", "zstd", "no zstd", http.StatusBadRequest},
		{"text/html", "", "hello", http.StatusUnsupportedMediaType},
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.Addr.GatewayHTTP+"/v1/traces", strings.NewReader(tc.body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", tc.contentType)
		if tc.encoding != "" {
			req.Header.Set("Content-Encoding", tc.encoding)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, tc.want, resp.StatusCode, "%s %s", tc.contentType, tc.encoding)
	}

	request := stack.Spans(0, time.Now())
	status, _, err := stack.Post(ctx, s.Addr.GatewayHTTP, frame.Traces, request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	records, err := s.Kafka.Read(ctx)
	require.NoError(t, err)
	require.Len(t, records, 1)
	var l audit.Ledger
	require.NoError(t, l.Accept(frame.Traces, request))
	require.NoError(t, l.Kafka(frame.Traces, records[0].Value, ""))
	require.True(t, l.Row(frame.Traces).OK())
}

// sendRaw writes bytes to a listener and waits until it has answered and closed,
// or closed without a word.
func sendRaw(t *testing.T, addr string, garbage []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, _ = conn.Write(garbage) // the listener may close while we write
	_ = conn.(*net.TCPConn).CloseWrite()
	_, err = io.Copy(io.Discard, conn)
	if netErr, ok := err.(net.Error); ok { //nolint:errorlint // Copy returns it bare
		require.False(t, netErr.Timeout(), "the listener kept the connection of garbage")
	}
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := rand.Read(b)
	require.NoError(t, err)
	return b
}
