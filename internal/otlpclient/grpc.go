package otlpclient

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/collector/config/configgrpc"
	"google.golang.org/grpc"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// grpc makes a connection. gRPC is not left to resolve the name: a balancer
// would send every third request to the sick one of three gateways for ever,
// and forget all addresses together with the name.
func (m *maker) grpc(w *otlpsend.Watch) (*grpc.ClientConn, error) {
	cfg := *m.cfg.GRPC
	opts := w.Options()
	secure, err := m.tls()
	if err != nil {
		return nil, err
	}
	if secure != nil {
		opts = append(opts, w.TLS(secure))
	}
	// Through a proxy, and to whatever else than host and port, gRPC finds its
	// own way.
	if addr, ok := hostPort(cfg.Endpoint); ok && !m.proxied(addr) {
		cfg.Endpoint = "passthrough:///" + addr
		opts = append(opts, w.Dialer(m.dial))
	}
	wrapped := make([]configgrpc.ToClientConnOption, 0, len(opts))
	for _, opt := range opts {
		wrapped = append(wrapped, configgrpc.WithGrpcDialOption(opt))
	}
	return cfg.ToClientConn(m.ctx, m.extensions, m.set, wrapped...)
}

// tls returns nil for a connection without.
func (m *maker) tls() (*tls.Config, error) {
	cfg, err := m.cfg.GRPC.TLS.LoadTLSConfig(m.ctx)
	if err != nil {
		return nil, err
	}
	if cfg == nil && strings.HasPrefix(m.cfg.GRPC.Endpoint, "https://") {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return cfg, nil
}

// proxied reports whether the environment names a proxy for addr, as gRPC looks
// for one.
func (m *maker) proxied(addr string) bool {
	u, err := m.proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
	return err != nil || u != nil
}

// hostPort takes host:port out of an endpoint that gRPC would resolve by DNS.
func hostPort(endpoint string) (string, bool) {
	for _, prefix := range []string{"http://", "https://", "dns:///"} {
		if addr, ok := strings.CutPrefix(endpoint, prefix); ok {
			return addr, true
		}
	}
	return endpoint, !strings.Contains(endpoint, "://") && !strings.HasPrefix(endpoint, "unix:") && !strings.HasPrefix(endpoint, "dns:")
}
