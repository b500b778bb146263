package lifelinereceiver

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// BenchmarkRequest is what a request costs from its headers to its ack, before a
// pipeline that costs nothing: inside the receiver, and over a connection that
// stays open, with what the client costs.
func BenchmarkRequest(b *testing.B) {
	raw := encoded(b, frame.Traces, 100)
	for _, sender := range []string{"agent", "recovery"} {
		b.Run("sender="+sender, func(b *testing.B) {
			g := startPassthrough(b, consumertest.NewNop(), func(c *Config) { c.TrustFlareHeaders = sender == "recovery" })
			g.lane = &lane{}
			b.Run("by=call", func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if refused := ask(b.Context(), g, raw, nil, nil); refused != nil {
						b.Fatal(refused)
					}
				}
			})
			b.Run("by=grpc", func(b *testing.B) { benchmarkGRPC(b, g, raw) })
			b.Run("by=http", func(b *testing.B) { benchmarkHTTP(b, g, raw) })
		})
	}
}

func benchmarkGRPC(b *testing.B, g *gateway, raw []byte) {
	conn := dial(b, g)
	b.ReportAllocs()
	for b.Loop() {
		var answer rawMessage
		require.NoError(b, conn.Invoke(b.Context(), "/"+grpcServices[frame.Traces]+"/Export", &rawMessage{bytes: raw}, &answer,
			grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")})))
	}
}

func benchmarkHTTP(b *testing.B, g *gateway, raw []byte) {
	var client http.Client
	defer client.CloseIdleConnections()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := client.Post("http://"+g.http.addr.String()+"/v1/traces", typeProto, bytes.NewReader(raw))
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(b, err)
		require.NoError(b, resp.Body.Close())
		require.Equal(b, http.StatusOK, resp.StatusCode)
	}
}
