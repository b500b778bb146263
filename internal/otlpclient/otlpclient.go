// Package otlpclient makes the client of an OTLP server from the Collector's
// configuration of HTTP and gRPC clients: exporter and recovery reach their
// gateways the same way. Whatever the transport, the name is resolved anew for
// fresh connections, a sick address is left for another, and addresses that
// worked are kept for the day the name is gone.
//
// It starts no goroutine but those of net/http and gRPC, which Close ends.
package otlpclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Config says how to reach a server: exactly one of HTTP and GRPC is set.
type Config struct {
	HTTP           *confighttp.ClientConfig
	GRPC           *configgrpc.ClientConfig
	Compression    string // of otlpsend's; what is stored is always zstd
	ReceiptKeyFile string // set: an ack must carry a receipt made with a key of it
	Senders        int    // requests at the same time; HTTP keeps as many idle connections

	// ReceiptKeys is told, before New returns, with every request and by
	// CheckReceipts, what is wrong with the receipt keys as they are now: nil,
	// mostly. Calls come one after the other; nil for nothing.
	ReceiptKeys func(broken error)
}

// Client is what New makes.
type Client struct {
	otlpsend.Client
	receipts *receipts // nil: none are demanded
}

// CheckReceipts tells ReceiptKeys of the keys while there are no requests to do so.
func (c *Client) CheckReceipts() { c.receipts.check() }

// New returns the client. It opens no connection to wait for; it fails only for
// a configuration that cannot work. ctx gives values to what is made later, its
// end ends nothing.
func New(ctx context.Context, cfg Config, host component.Host, set component.TelemetrySettings) (*Client, error) {
	m := &maker{
		ctx: context.WithoutCancel(ctx), cfg: cfg, extensions: host.GetExtensions(), set: set,
		dialer: dial.New(), proxy: http.ProxyFromEnvironment,
	}
	m.dialer.Unproven = !cfg.proven()
	keys := cfg.receipts()
	keys.check() // says what is wrong with them; the server may still be reached later
	client, err := m.client(keys)
	if err != nil {
		return nil, err
	}
	return &Client{client, keys}, nil
}

// proven reports whether an answer proves who gave it, by TLS or by a receipt.
func (c *Config) proven() bool {
	switch {
	case c.ReceiptKeyFile != "":
		return true
	case c.HTTP != nil:
		return strings.HasPrefix(c.HTTP.Endpoint, "https:") && !c.HTTP.TLS.InsecureSkipVerify
	default:
		return c.GRPC != nil && !strings.HasPrefix(c.GRPC.Endpoint, "http:") && !c.GRPC.TLS.Insecure && !c.GRPC.TLS.InsecureSkipVerify
	}
}

// maker makes connections, again and again.
type maker struct {
	ctx        context.Context // of Start, without its end
	cfg        Config
	extensions map[component.ID]component.Component
	set        component.TelemetrySettings
	dialer     *dial.Dialer
	proxy      func(*http.Request) (*url.URL, error)
}

func (m *maker) client(keys *receipts) (otlpsend.Client, error) {
	o := otlpsend.Options{Compression: otlpsend.Compression(m.cfg.Compression), Leave: m.dialer.Leave}
	if keys != nil {
		o.Receipts = keys.get
	}
	switch {
	case m.cfg.HTTP != nil:
		c, err := otlpsend.NewHTTP(m.cfg.HTTP.Endpoint, m.http, o)
		if err != nil {
			return nil, fmt.Errorf("http: %w", err)
		}
		return c, nil
	case m.cfg.GRPC != nil:
		c, err := otlpsend.NewGRPC(m.grpc, o)
		if err != nil {
			return nil, fmt.Errorf("grpc: %w", err)
		}
		return c, nil
	}
	return nil, errors.New("neither http nor grpc is configured")
}

// dial is the way of all connections to the network.
func (m *maker) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.dialer.DialContext(ctx, network, addr)
}
