package lifelinereceiver

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

var protocols = []string{"grpc", "http"}

var errDown = errors.New("broker kafka-1.internal is down")

func TestAnswerToFailingWrites(t *testing.T) {
	raw := encoded(t, frame.Traces, 3)
	for _, protocol := range protocols {
		for name, err := range map[string]error{
			"retryable":           errDown,
			"permanent":           consumererror.NewPermanent(errDown),
			"kafka, permanent":    consumererror.NewPermanent(kerr.TopicAuthorizationFailed),
			"broker's too large":  consumererror.NewPermanent(kerr.MessageTooLarge),
			"unknown topic id":    kerr.UnknownTopicID,
			"downstream status":   status.Error(codes.InvalidArgument, errDown.Error()),
			"status in permanent": consumererror.NewPermanent(status.Error(codes.InvalidArgument, errDown.Error())),
			"cancelled":           context.Canceled,
		} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				k := &kafka{script: func(context.Context, int) error { return err }}
				r := send(t.Context(), startPassthrough(t, k), protocol, raw)
				require.Len(t, k.all(), 1, "the fault was met")
				requireUnavailable(t, r)
				require.NotContains(t, r.status.Message(), "kafka-1", "what is behind the gateway stays there")
			})
		}
		t.Run(protocol+" success", func(t *testing.T) {
			k := &kafka{}
			r := send(t.Context(), startPassthrough(t, k), protocol, raw)
			require.Equal(t, codes.OK, r.status.Code())
			require.Len(t, k.all(), 1)
			require.NotContains(t, string(r.body), "rejected")
			if protocol == "http" {
				require.Equal(t, typeProto, r.header.Get("Content-Type"))
			}
		})
	}
}

// slowKafka accepts a record and finishes only when it is told to.
func slowKafka() (k *kafka, started chan context.Context, finish chan error) {
	started, finish = make(chan context.Context, 16), make(chan error)
	return &kafka{script: func(ctx context.Context, _ int) error {
		started <- ctx
		return <-finish
	}}, started, finish
}

func TestAnswerOnOwnClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, started, finish := slowKafka()
		g := bubble(t, k)
		begin := time.Now()
		require.Equal(t, errLate, ask(t.Context(), g, encoded(t, frame.Traces, 3), nil, nil))
		require.Equal(t, g.cfg.AckTimeout, time.Since(begin))
		ctx := <-started
		require.NoError(t, ctx.Err(), "the write goes on after the answer")
		_, deadline := ctx.Deadline()
		require.False(t, deadline)
		require.Less(t, g.admission.room(), int64(g.cfg.Admission.MaxInflight), "its bytes are still held")
		finish <- nil
		g.workers.writes.Wait()
		require.Equal(t, int64(g.cfg.Admission.MaxInflight), g.admission.room())
	})
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			release := make(chan struct{})
			k := &kafka{script: func(context.Context, int) error { <-release; return nil }}
			g := startPassthrough(t, k, func(c *Config) { c.AckTimeout, c.Admission.MaxWait = time.Second, 10*time.Millisecond })
			requireUnavailable(t, send(t.Context(), g, protocol, encoded(t, frame.Traces, 3)))
			close(release)
			g.workers.writes.Wait()
			require.Equal(t, int64(g.cfg.Admission.MaxInflight), g.admission.room())
		})
	}
}

func (a *admission) room() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.free
}

// handled is a gRPC stream as its handler sees it.
type handled struct {
	grpc.ServerStream
	ctx context.Context
}

func (h handled) Context() context.Context { return h.ctx }

// below is what lies under such a stream.
type below struct {
	grpc.ServerTransportStream
	*fakeStream
}

func TestAnswerBeforeTheClientsDeadline(t *testing.T) {
	for patience, margin := range map[time.Duration]time.Duration{
		10 * time.Second:       clientMargin,
		600 * time.Millisecond: 300 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			k, started, finish := slowKafka()
			g := bubble(t, k)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			raw := encoded(t, frame.Traces, 3)
			stream := &fakeStream{header: prefixed(0, raw)[:5], body: raw, read: func() {}}
			begin := time.Now()
			err := g.grpc.serve(handled{ctx: grpc.NewContextWithServerTransportStream(ctx, below{fakeStream: stream})}, frame.Traces)
			requireUnavailable(t, reply{status: status.Convert(err)})
			require.Equal(t, patience-margin, time.Since(begin))
			<-started
			finish <- nil
		})
	}
}

func TestClientThatLeavesDoesNotCancelTheWrite(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			k, started, finish := slowKafka()
			g := startPassthrough(t, k)
			ctx, cancel := context.WithCancel(t.Context())
			gone := make(chan reply, 1)
			raw := encoded(t, frame.Traces, 3)
			background(t, func() { gone <- send(ctx, g, protocol, raw) })
			write := <-started
			cancel()
			require.Equal(t, codes.Canceled, (<-gone).status.Code())
			require.NoError(t, write.Err())
			finish <- nil
			g.workers.writes.Wait()
			require.Len(t, k.all(), 1)
		})
	}
}

func gzipped(t *testing.T, raw []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

func zstdBytes(t *testing.T, raw []byte) []byte {
	w, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return w.EncodeAll(raw, nil)
}

func TestGarbageOverHTTP(t *testing.T) {
	noise := make([]byte, 4096)
	_, _ = rand.Read(noise)
	good := encoded(t, frame.Traces, 100)
	bomb := make([]byte, 64<<20)
	for name, c := range map[string]struct {
		path     string
		body     []byte
		headers  []string
		httpCode int
		code     codes.Code
		message  string
	}{
		"noise":            {"/v1/traces", noise, nil, 400, codes.InvalidArgument, "not a valid OTLP request"},
		"cut off protobuf": {"/v1/traces", good[:len(good)-3], nil, 400, codes.InvalidArgument, "cut off"},
		"bad json":         {"/v1/logs", []byte(`{"resourceLogs":`), []string{"Content-Type", typeJSON}, 400, codes.InvalidArgument, "not a valid OTLP request"},
		"protobuf as json": {"/v1/traces", good, []string{"Content-Type", typeJSON}, 400, codes.InvalidArgument, "not a valid OTLP request"},
		"truncated gzip":   {"/v1/traces", gzipped(t, good)[:50], []string{"Content-Encoding", "gzip"}, 400, codes.InvalidArgument, "does not decompress"},
		"not gzip":         {"/v1/traces", good, []string{"Content-Encoding", "gzip"}, 400, codes.InvalidArgument, "does not decompress"},
		"not zstd":         {"/v1/traces", good, []string{"Content-Encoding", "zstd"}, 400, codes.InvalidArgument, "does not decompress"},
		"not snappy":       {"/v1/traces", []byte{100, 1, 0}, []string{"Content-Encoding", "snappy"}, 400, codes.InvalidArgument, "does not decompress"},
		"not lz4":          {"/v1/traces", noise, []string{"Content-Encoding", "lz4"}, 400, codes.InvalidArgument, "does not decompress"},
		"gzip bomb":        {"/v1/traces", gzipped(t, bomb), []string{"Content-Encoding", "gzip"}, 413, codes.ResourceExhausted, "larger than max"},
		"zstd bomb":        {"/v1/traces", zstdBytes(t, bomb), []string{"Content-Encoding", "zstd"}, 413, codes.ResourceExhausted, "larger than max"},
		"zstd window":      {"/v1/traces", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x98, 1, 0, 0, 0}, []string{"Content-Encoding", "zstd"}, 400, codes.InvalidArgument, "does not decompress"},
		"snappy length":    {"/v1/traces", []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 1}, []string{"Content-Encoding", "snappy"}, 413, codes.ResourceExhausted, "larger than max"},
		"too large":        {"/v1/traces", bomb[:21<<20], nil, 413, codes.ResourceExhausted, "larger than max"},
		"says too large":   {"/v1/traces", good, []string{frame.HeaderSize, "999999999999"}, 413, codes.ResourceExhausted, "larger than max"},
		"unknown encoding": {"/v1/traces", good, []string{"Content-Encoding", "br"}, 415, codes.Unimplemented, "unsupported encoding"},
		"unknown type":     {"/v1/traces", good, []string{"Content-Type", "text/html"}, 415, codes.Unknown, "Content-Type"},
		"no type":          {"/v1/traces", good, []string{"Content-Type", ""}, 415, codes.Unknown, "Content-Type"},
		"unknown path":     {"/api/v2/spans", good, nil, 404, codes.Unimplemented, "no such path"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kafka{}
			g := startPassthrough(t, k)
			r := post(t.Context(), g, c.path, c.body, append([]string{"Content-Type", typeProto}, c.headers...)...)
			require.Equal(t, c.httpCode, r.httpCode, string(r.body))
			require.Equal(t, c.code, r.status.Code())
			require.Contains(t, r.status.Message(), c.message)
			require.Empty(t, k.all())
			require.Equal(t, int64(g.cfg.Admission.MaxInflight), g.admission.room(), "nothing is held any more")
			again := post(t.Context(), g, "/v1/traces", good, "Content-Type", typeProto)
			require.Equal(t, http.StatusOK, again.httpCode, "the next client is served")
		})
	}
}

func TestOtherMethodsOverHTTP(t *testing.T) {
	g := startPassthrough(t, &kafka{})
	resp, err := http.Get("http://" + g.http.addr.String() + "/v1/traces")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, http.MethodPost, resp.Header.Get("Allow"))
}

func TestGarbageOverGRPC(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k, func(c *Config) { c.Protocols.GRPC.Get().MaxRecvMsgSizeMiB = 1 })
	r := call(t.Context(), g, []byte("garbage"))
	require.Equal(t, codes.InvalidArgument, r.status.Code())
	r = call(t.Context(), g, make([]byte, 2<<20))
	require.Equal(t, codes.ResourceExhausted, r.status.Code())
	require.Contains(t, r.status.Message(), "larger than max")

	for name, bytes := range map[string][]byte{
		"noise":     {0, 1, 2, 3},
		"http":      []byte("POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"a preface": []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", g.grpc.addr.String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write(bytes)
			require.NoError(t, err)
			_ = conn.(*net.TCPConn).CloseWrite() // the server may have hung up already
			_, _ = io.Copy(io.Discard, conn)     // until the server hangs up
		})
	}
	require.Empty(t, k.all())
	require.Equal(t, codes.OK, call(t.Context(), g, encoded(t, frame.Traces, 1)).status.Code())
}

// rawHTTP sends bytes as they are and returns the answer.
func rawHTTP(t *testing.T, g *gateway, text string, hangUp bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", g.http.addr.String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, text)
	require.NoError(t, err)
	if hangUp {
		_ = conn.(*net.TCPConn).CloseWrite() // the server may have hung up already
	}
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func TestBodyThatDoesNotCome(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k, func(c *Config) { c.AckTimeout, c.Admission.MaxWait = time.Second, 10*time.Millisecond })
	head := "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 1000\r\n\r\nhalf"
	for name, hangUp := range map[string]bool{"stalls": false, "is cut off": true} {
		t.Run(name, func(t *testing.T) {
			answer := rawHTTP(t, g, head, hangUp)
			require.Contains(t, answer, "503 Service Unavailable")
			require.Contains(t, answer, "Retry-After: ")
			require.Empty(t, k.all())
			require.Equal(t, int64(g.cfg.Admission.MaxInflight), g.admission.room())
		})
	}
}

func TestEmptyRequestsAreAcked(t *testing.T) {
	for _, protocol := range protocols {
		k := &kafka{}
		r := send(t.Context(), startPassthrough(t, k), protocol, nil)
		require.Equal(t, codes.OK, r.status.Code())
		require.Empty(t, k.all(), "there is nothing to write")
	}
}

func TestJSONIsAnsweredInJSON(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k, func(c *Config) { c.Passthrough.MaxMessageBytes = 1 << 10 })
	body := []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"` + string(bytes.Repeat([]byte("x"), 2000)) + `"}]}]}]}`)
	r := post(t.Context(), g, "/v1/traces", body, "Content-Type", typeJSON+"; charset=utf-8")
	require.Equal(t, http.StatusOK, r.httpCode)
	require.Equal(t, []string{typeJSON}, r.header.Values("Content-Type"))
	require.JSONEq(t, `{"partialSuccess":{"rejectedSpans":"1","errorMessage":"records that have more than 1KiB with their resource cannot be stored"}}`, string(r.body))
}

func TestDecodeModePermanentErrors(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code codes.Code
	}{
		"a processor's":        {consumererror.NewPermanent(errDown), codes.InvalidArgument},
		"one of two":           {errors.Join(errDown, consumererror.NewPermanent(errDown)), codes.Unavailable},
		"both":                 {errors.Join(consumererror.NewPermanent(errDown), consumererror.NewPermanent(errDown)), codes.InvalidArgument},
		"an exporter's status": {consumererror.NewPermanent(status.Error(codes.Internal, "x")), codes.Unavailable},
		"Kafka's":              {consumererror.NewPermanent(fmt.Errorf("write: %w", kerr.InvalidRecord)), codes.Unavailable},
		"not permanent":        {errDown, codes.Unavailable},
	} {
		for _, protocol := range protocols {
			t.Run(name+" "+protocol, func(t *testing.T) {
				next, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error { return c.err })
				require.NoError(t, err)
				cfg := testConfig(func(c *Config) { c.Passthrough.Enabled = false })
				r, err := NewFactory().CreateTraces(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, next)
				require.NoError(t, err)
				g := startReceiver(t, r)
				require.Equal(t, c.code, send(t.Context(), g, protocol, encoded(t, frame.Traces, 2)).status.Code())
				require.Equal(t, http.StatusNotFound,
					post(t.Context(), g, "/v1/logs", nil, "Content-Type", typeProto).httpCode, "no logs pipeline")
			})
		}
	}
}
