package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// TestExporterOverGRPC sends with our exporter over gRPC, in every compression
// to a stock receiver, and as it is stored to our gateway and from there through
// Kafka. The test reads everything back.
func TestExporterOverGRPC(t *testing.T) {
	for _, compression := range []string{"zstd", "gzip", "none"} {
		t.Run("stock receiver "+compression, func(t *testing.T) {
			s := newStack(t)
			ctx := env.Within(t, 60*time.Second)
			out := newSink(t, nil)
			addrs, err := proc.FreeAddrs(1)
			require.NoError(t, err)
			receiver, _ := stock(t, s, "receiver.yaml", "OUT_HTTP="+out.addr, "IN_GRPC="+addrs[0])
			sender, addr := stock(t, s, "rpc.yaml", "OUT_GRPC="+addrs[0], "COMPRESSION="+compression)
			require.NoError(t, receiver.Start(ctx))
			require.NoError(t, sender.Start(ctx))
			for signal, request := range requests(t) {
				out.accept(signal, request)
				status, _, err := stack.Post(ctx, addr, signal, request)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, status)
				out.waitAll(ctx, signal)
			}
		})
	}
	t.Run("our gateway", func(t *testing.T) {
		s := newStack(t)
		ctx := env.Within(t, 90*time.Second)
		out := newSink(t, nil)
		s.Consumer.Configs = append(s.Consumer.Configs, testdata(t, "announce.yaml"))
		s.Consumer.Env = append(s.Consumer.Env, "OUT_HTTP="+out.addr)
		sender, addr := stock(t, s, "rpc.yaml", "OUT_GRPC="+s.Addr.GatewayGRPC, "COMPRESSION=zstd")
		for _, r := range []*stack.Role{s.Gateway, s.Consumer, sender} {
			require.NoError(t, r.Start(ctx))
		}
		for signal, request := range requests(t) {
			out.accept(signal, request)
			status, _, err := stack.Post(ctx, addr, signal, request)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
		}
		for signal := range requests(t) {
			out.waitAll(ctx, signal)
		}
	})
}
