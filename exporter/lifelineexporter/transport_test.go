package lifelineexporter

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confignet"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// rpcGateway is what stands behind the stock gRPC server. With keys it makes
// receipts over the size that the agent declares.
type rpcGateway struct {
	plogotlp.UnimplementedGRPCServer
	keys *receipt.Keys
	got  chan plog.Logs
	md   chan metadata.MD
}

// Export implements plogotlp.GRPCServer.
func (g *rpcGateway) Export(ctx context.Context, r plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	raw, err := r.MarshalProto()
	if err == nil && g.keys != nil {
		proof := g.keys.Sign(receipt.Claim{Signal: frame.Logs, BatchID: md.Get(frame.HeaderBatchID)[0], Length: int64(len(raw))})
		err = grpc.SetTrailer(ctx, metadata.Pairs(receipt.Header, proof))
	}
	g.md <- md
	g.got <- r.Logs()
	return plogotlp.NewExportResponse(), err
}

// newRPCGateway starts the Collector's own gRPC server.
func newRPCGateway(t *testing.T, keys *receipt.Keys) (*rpcGateway, string) {
	g := &rpcGateway{keys: keys, got: make(chan plog.Logs, 10000), md: make(chan metadata.MD, 10000)}
	cfg := configgrpc.NewDefaultServerConfig()
	cfg.NetAddr = confignet.AddrConfig{Endpoint: "127.0.0.1:0", Transport: confignet.TransportTypeTCP}
	server, err := cfg.ToServer(t.Context(), nil, componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	plogotlp.RegisterGRPCServer(server, g)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); wg.Wait() })
	return g, listener.Addr().String()
}

// overGRPC lets an agent send to addr.
func overGRPC(addr string) func(*Config) {
	return func(cfg *Config) {
		client := *cfg.GRPC.GetOrInsertDefault()
		client.Endpoint, client.TLS = addr, configtls.ClientConfig{Insecure: true}
		cfg.GRPC = configoptional.Some(client)
		cfg.HTTP = createDefaultConfig().(*Config).HTTP
	}
}

func order(text string) plog.Logs {
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr(text)
	return ld
}

func TestEveryCompressionOverGRPCToAStockServer(t *testing.T) {
	for _, compression := range []string{zstd, "gzip", "none"} {
		t.Run(compression, func(t *testing.T) {
			g, addr := newRPCGateway(t, nil)
			a := newAgent(t, "", overGRPC(addr), func(cfg *Config) { cfg.Compression = compression }).start()
			sent := order("taken")
			require.NoError(t, a.logs.ConsumeLogs(t.Context(), sent))
			require.Equal(t, sent, <-g.got)
			md := <-g.md
			require.Len(t, md.Get(frame.HeaderBatchID), 1)
			require.Len(t, md.Get(frame.HeaderFrame), 1)
			a.shutdown()
			require.EqualValues(t, 1, a.scrape()["lifeline_delivered_items{signal=logs}"])
		})
	}
}

// An agent that cannot check a receipt sends nothing and says so; a key file
// that comes later, and one that is rotated, are taken while it runs.
func TestReceiptKeysAreReadAgain(t *testing.T) {
	const key, next = "old AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", "new AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
	keys, err := receipt.Parse([]byte(key))
	require.NoError(t, err)
	g, addr := newRPCGateway(t, keys)
	path := filepath.Join(t.TempDir(), "receipts")
	write := func(text string) {
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	a := newAgent(t, "", overGRPC(addr), func(cfg *Config) { cfg.ReceiptKeyFile = path }).start()
	require.ErrorContains(t, a.cfg.CheckFiles(t.Context()), "receipt_key_file: ")
	a.hears("The receipt keys are not usable.")
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), order("held")))
	a.hears("The gateway does not take data.")
	require.Empty(t, g.got, "nothing is sent")

	write(key)
	a.hears("The receipt keys are good again.")
	<-g.got
	a.hears("The gateway takes data.")
	require.NoError(t, a.cfg.CheckFiles(t.Context()))

	write("broken")
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), order("with the last good key")))
	a.hears("The receipt keys are not usable.")
	<-g.got

	write(next) // the gateway has no such key: its acks prove nothing any more
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), order("not believed")))
	a.hears("The gateway does not take data.")
	write(next + key)
	a.hears("The gateway takes data.")
	a.shutdown()
	require.EqualValues(t, 3, a.scrape()["lifeline_delivered_items{signal=logs}"])
}

// An agent without telemetry sends no requests: who looks at it hears of its receipt
// keys all the same.
func TestReceiptKeysOfAnIdleAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "receipts")
	a := newAgent(t, newGateway(t, ack).URL, func(cfg *Config) { cfg.ReceiptKeyFile = path }).start()
	a.hears("The receipt keys are not usable.")
	require.Equal(t, "receipt keys", a.host.page.Show(t)["problems"][0]["of"])
	put(t, path, []byte("old AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	require.Empty(t, a.host.page.Show(t)["problems"])
	a.hears("The receipt keys are good again.")
	put(t, path, []byte("broken"))
	a.scrape()
	a.hears("The receipt keys are not usable.")
	a.shutdown()
}
