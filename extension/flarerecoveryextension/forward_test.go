package flarerecoveryextension

import (
	"context"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // what a stock server takes
	"google.golang.org/grpc/metadata"

	"github.com/otel-lifeline/lifeline/internal/otlpclient"
)

// stock is an OTLP/gRPC server as others build it: it decodes, and knows nothing
// of flares, receipts or zstd.
type stock struct {
	plogotlp.UnimplementedGRPCServer
	mu      sync.Mutex
	records int
	headers []metadata.MD
}

func (s *stock) Export(ctx context.Context, r plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records += r.Logs().LogRecordCount()
	s.headers = append(s.headers, md)
	return plogotlp.NewExportResponse(), nil
}

// serveStock starts a stock server, and points the forward of r to it.
func (r *rig) serveStock(t *testing.T) *stock {
	s, server := &stock{}, grpc.NewServer()
	plogotlp.RegisterGRPCServer(server, s)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	t.Cleanup(func() { server.Stop(); wg.Wait() })

	overGRPC := otlpclient.DefaultGRPC()
	overGRPC.Endpoint, overGRPC.TLS.Insecure = l.Addr().String(), true
	forward := &r.files.cfg.Forward
	forward.GRPC, forward.Compression = configoptional.Some(overGRPC), "gzip"
	forward.HTTP = configoptional.None[confighttp.ClientConfig]()
	return s
}

// A stock gRPC server that has never heard of Lifeline is a target like any
// other, with the compression that it takes and the tenant it knows.
func TestForwardToStockGRPC(t *testing.T) {
	r := newRig(t)
	r.writeKeys()
	_, key := r.flare(t)
	s := r.serveStock(t)
	require.NoError(t, r.files.cfg.Forward.Validate())
	require.NoError(t, r.ext.Start(t.Context(), newHost()))
	require.NoError(t, r.ext.Ready())
	require.Equal(t, key, receive(t, r.gone))
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.Equal(t, 1, s.records)
	require.Equal(t, []string{"acme"}, s.headers[0].Get("x-scope-orgid"))
	require.Equal(t, []string{"acme/host-17"}, s.headers[0].Get("lifeline-agent"))
}

// With receipt keys an ack without a receipt is none: the flare stays, and the
// status says why. Keys that cannot be read forward nothing at all.
func TestForwardDemandsReceipts(t *testing.T) {
	for name, file := range map[string]string{
		"no receipt": "2026 " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n",
		"no keys":    "",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.writeKeys()
			_, key := r.flare(t)
			path := filepath.Join(t.TempDir(), "receipt_keys")
			require.NoError(t, os.WriteFile(path, []byte(file), 0o600))
			r.files.cfg.Forward.ReceiptKeyFile = path
			host := newHost()
			require.NoError(t, r.ext.Start(t.Context(), host))
			require.NoError(t, r.ext.Ready())
			require.Equal(t, componentstatus.StatusRecoverableError, receive(t, host.seen))
			if file != "" {
				require.ErrorContains(t, host.event(0).Err(), "receipt")
			}
			require.NoError(t, r.ext.Shutdown(t.Context()))
			require.Contains(t, r.store.Keys(), key)
			if file == "" {
				require.ErrorContains(t, host.event(0).Err(), "forward::receipt_key_file")
				require.Empty(t, r.gateway.bodies)
			}
		})
	}
}

// Receipt keys that break and are repaired while no flare comes: every pass looks.
func TestReceiptKeysAreLookedAtWithoutAFlare(t *testing.T) {
	r := newRig(t)
	r.writeKeys()
	r.files.cfg.PollInterval = 10 * time.Millisecond
	path := filepath.Join(t.TempDir(), "receipt_keys")
	write := func(text string) {
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	good := "2026 " + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n"
	r.files.cfg.Forward.ReceiptKeyFile = path
	host := newHost()
	require.NoError(t, r.ext.Start(t.Context(), host))
	require.NoError(t, r.ext.Ready())
	for range 2 {
		require.Equal(t, componentstatus.StatusRecoverableError, receive(t, host.seen))
		write(good)
		require.Equal(t, componentstatus.StatusOK, receive(t, host.seen))
		write("garbage")
	}
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.Empty(t, r.gateway.bodies)
}
