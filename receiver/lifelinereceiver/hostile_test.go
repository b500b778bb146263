package lifelinereceiver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// rawCall makes a gRPC call with a body of any bytes, and returns its status.
func rawCall(t *testing.T, g *gateway, compression string, body []byte) (codes.Code, string) {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"http://"+g.grpc.addr.String()+"/"+grpcServices[frame.Traces]+"/Export", bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	if compression != "" {
		req.Header.Set("Grpc-Encoding", compression)
	}
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	code, err := strconv.Atoi(resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status"))
	require.NoError(t, err)
	text, err := url.PathUnescape(resp.Header.Get("Grpc-Message") + resp.Trailer.Get("Grpc-Message"))
	require.NoError(t, err)
	return codes.Code(code), text //nolint:gosec // a status
}

// prefixed returns raw as a gRPC message, flag says whether it is compressed.
func prefixed(flag byte, raw []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(raw))), raw...) //nolint:gosec // small
}

func TestRawMessagesOverGRPC(t *testing.T) {
	raw := encoded(t, frame.Traces, 10)
	whole := prefixed(0, raw)
	for name, c := range map[string]struct {
		compression string
		body        []byte
		code        codes.Code
		text        string
	}{
		"whole":                {"", whole, codes.OK, ""},
		"gzip":                 {"gzip", prefixed(1, gzipped(t, raw)), codes.OK, ""},
		"zstd":                 {"zstd", prefixed(1, zstdBytes(t, raw)), codes.OK, ""},
		"not compressed":       {"zstd", whole, codes.OK, ""},
		"cut off":              {"", whole[:len(whole)/2], codes.Unavailable, "did not arrive whole"},
		"cut off in its head":  {"", whole[:3], codes.Unavailable, "did not arrive whole"},
		"no message":           {"", nil, codes.Unavailable, "did not arrive in time"}, // grpc-go does not pass on this end
		"two messages":         {"", slices.Concat(whole, whole), codes.InvalidArgument, "more than one message"},
		"no gRPC":              {"", append([]byte{7}, whole[1:]...), codes.InvalidArgument, "not a gRPC message"},
		"says it is too large": {"", []byte{0, 0x40, 0, 0, 0}, codes.ResourceExhausted, "larger than max"},
		"bomb":                 {"zstd", prefixed(1, zstdBytes(t, make([]byte, 64<<20))), codes.ResourceExhausted, "larger than max"},
		"not zstd":             {"zstd", prefixed(1, raw), codes.InvalidArgument, "does not decompress"},
		"unnamed compression":  {"", prefixed(1, raw), codes.InvalidArgument, "does not say how"},
		"unknown compression":  {"br", prefixed(1, raw), codes.Unimplemented, "br"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kafka{}
			g := startPassthrough(t, k)
			code, text := rawCall(t, g, c.compression, c.body)
			require.Equal(t, c.code, code, text)
			require.Contains(t, text, c.text)
			require.Equal(t, c.code == codes.OK, len(k.all()) == 1)
			require.NoError(t, g.Shutdown(t.Context()))
			require.Equal(t, g.admission.total, g.admission.room())
		})
	}
}

// silentStream opens a stream and sends nothing.
func silentStream(t *testing.T, conn *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/"+grpcServices[frame.Traces]+"/Export", grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	require.NoError(t, err)
	return stream
}

func dial(t testing.TB, g *gateway) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(g.grpc.addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func TestSilentStreamsHoldNothing(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k)
	streams := make([]grpc.ClientStream, 90)
	conn := dial(t, g)
	for i := range streams {
		streams[i] = silentStream(t, conn)
	}
	err := streams[0].RecvMsg(&rawMessage{}) // all others were there for as long by now
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Contains(t, err.Error(), "did not arrive in time")

	for i := range streams {
		streams[i] = silentStream(t, conn)
	}
	var answer rawMessage
	require.NoError(t, conn.Invoke(t.Context(), "/"+grpcServices[frame.Traces]+"/Export", &rawMessage{bytes: encoded(t, frame.Traces, 1)},
		&answer, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")})))
	require.Len(t, k.all(), 1)
	g.workers.writes.Wait()
	require.Equal(t, g.admission.total, g.admission.room())
}

// Silence ends sooner than slowness.
func TestPatienceWithAStream(t *testing.T) {
	for name, row := range map[string]struct {
		begun, whole bool
		want         *refusal
		after        func(g *gateway) time.Duration
	}{
		"silent":                 {false, false, errSlow, func(*gateway) time.Duration { return firstByteTimeout }},
		"slow":                   {true, false, errSlow, (*gateway).bodyTimeout},
		"whole, and not written": {true, true, nil, (*gateway).bodyTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := bubble(t, &kafka{})
				m := &message{gateway: g}
				m.begun.Store(row.begun)
				m.whole.Store(row.whole)
				begin := time.Now()
				require.Equal(t, row.want, m.patience(t.Context(), nil))
				require.Equal(t, row.after(g), time.Since(begin))
			})
		})
	}
	g := bubble(t, &kafka{})
	require.Less(t, firstByteTimeout, g.bodyTimeout()/2)
}

func TestSizeThatDoesNotMatchIsNoSuccess(t *testing.T) {
	raw := encoded(t, frame.Traces, 2)
	for _, protocol := range protocols {
		for name, body := range map[string][]byte{"empty": nil, "other": raw} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				k := &kafka{}
				g := startPassthrough(t, k)
				requireUnavailable(t, send(t.Context(), g, protocol, body,
					frame.HeaderSize, "123456", frame.HeaderBatchID, rootID))
				require.Empty(t, k.all())
			})
		}
	}
	t.Run("of JSON it is the size of the JSON", func(t *testing.T) {
		k := &kafka{}
		g := startPassthrough(t, k)
		body := []byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}`)
		r := post(t.Context(), g, "/v1/traces", body, "Content-Type", typeJSON, frame.HeaderSize, strconv.Itoa(len(body)))
		require.Equal(t, http.StatusOK, r.httpCode)
		require.Len(t, k.all(), 1)
	})
}

func TestLargestBodyFitsTheSmallestAdmission(t *testing.T) {
	const limit = 1 << 20
	noise := make([]byte, limit-4096) // what compresses nothing is as large again while it is unpacked
	_, _ = rand.Read(noise)
	raw := field(1, field(2, field(2, field(5, field(7, noise)))))
	raw = append(raw, field(100, make([]byte, limit-len(raw)-8))...)
	for compression, body := range map[string][]byte{"": raw, "gzip": gzipped(t, raw), "zstd": zstdBytes(t, raw)} {
		k := &kafka{}
		g := startPassthrough(t, k, func(c *Config) {
			c.Passthrough.MaxMessageBytes = 2 * limit
			c.Protocols.GRPC.Get().MaxRecvMsgSizeMiB = 1
			c.Protocols.HTTP.Get().MaxRequestBodySize = limit
			c.Admission.MaxInflight = 2 * limit
		})
		r := post(t.Context(), g, "/v1/logs", body, "Content-Type", typeProto, "Content-Encoding", compression)
		require.Equal(t, http.StatusOK, r.httpCode, compression+r.status.Message())
		require.Len(t, k.all(), 1)
	}
}

func TestLargeRequestWithoutRecordsIsNoSuccess(t *testing.T) {
	for _, protocol := range protocols {
		k := &kafka{}
		g := startPassthrough(t, k, func(c *Config) { c.Passthrough.MaxMessageBytes = 4 << 10 })
		r := send(t.Context(), g, protocol, logsOf(0, 8<<10))
		require.Equal(t, codes.ResourceExhausted, r.status.Code())
		require.Empty(t, k.all())
	}
}

func TestPanicOfThePipeline(t *testing.T) {
	raw := encoded(t, frame.Traces, 300)
	panics := func(context.Context, int) error { panic("a bug") }
	for _, protocol := range protocols {
		for name, limit := range map[string]bytesize.Size{"one part": bytesize.MiB, "many parts": 4 * bytesize.KiB} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				k := &kafka{script: panics}
				g := startPassthrough(t, k, func(c *Config) { c.Passthrough.MaxMessageBytes = limit })
				r := send(t.Context(), g, protocol, raw)
				require.NotEmpty(t, k.all(), "the fault was met")
				requireUnavailable(t, r)
				require.NotContains(t, r.status.Message(), "bug")
				g.workers.writes.Wait()
				require.Equal(t, g.admission.total, g.admission.room())
			})
		}
		t.Run(protocol+" decoded", func(t *testing.T) {
			next, err := consumer.NewTraces(func(context.Context, ptrace.Traces) error { panic("a bug") })
			require.NoError(t, err)
			cfg := testConfig(func(c *Config) { c.Passthrough.Enabled = false })
			r, err := NewFactory().CreateTraces(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, next)
			require.NoError(t, err)
			requireUnavailable(t, send(t.Context(), startReceiver(t, r), protocol, raw))
		})
	}
}
