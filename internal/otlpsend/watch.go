package otlpsend

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/stats"
)

// Watch sees how a gRPC connection comes about. gRPC itself tells of a failed
// dial or handshake by text alone.
type Watch struct {
	end  *endOf
	wire *wire

	mu sync.Mutex
	// mu guards the following.
	err error // of the last try to connect; nil: it succeeded, or was not watched
}

// Options returns what every connection needs.
func (w *Watch) Options() []grpc.DialOption {
	opts := []grpc.DialOption{grpc.WithStatsHandler(spokeHandler{}), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig()}
	if w.wire.name != string(None) {
		// Deprecated, and the only way to send what is compressed already without
		// taking the name of a compressor from everybody else in the process.
		opts = append(opts, grpc.WithCompressor(w.wire)) //nolint:staticcheck // see above
	}
	return opts
}

// Dialer returns the option that dials with d.
func (w *Watch) Dialer(d func(ctx context.Context, network, addr string) (net.Conn, error)) grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := d(ctx, "tcp", addr)
		w.note(err)
		return conn, err
	})
}

// TLS returns the option that connects with cfg.
func (w *Watch) TLS(cfg *tls.Config) grpc.DialOption {
	return grpc.WithTransportCredentials(&watchedTLS{TransportCredentials: credentials.NewTLS(cfg), watch: w})
}

func (w *Watch) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *Watch) trouble() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// watchedTLS tells its Watch how handshakes end.
type watchedTLS struct {
	credentials.TransportCredentials
	watch *Watch
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *watchedTLS) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ClientHandshake(ctx, authority, raw)
	var state tls.ConnectionState
	if shook, ok := info.(credentials.TLSInfo); ok {
		state = shook.State
	}
	c.watch.end.saw(state, err)
	c.watch.note(err)
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (c *watchedTLS) Clone() credentials.TransportCredentials {
	return &watchedTLS{TransportCredentials: c.TransportCredentials.Clone(), watch: c.watch}
}

// spoke knows whether a status came from the server: gRPC makes statuses of its
// own, in the same form, for whatever breaks on the way.
type spoke struct{ trailer atomic.Bool }

type spokeKey struct{}

func (s *spoke) watch(ctx context.Context) context.Context {
	return context.WithValue(ctx, spokeKey{}, s)
}

// spokeHandler is stateless; it sees the calls of all connections.
type spokeHandler struct{}

// TagRPC implements stats.Handler.
func (spokeHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (spokeHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.InTrailer); !ok {
		return
	}
	if s, ok := ctx.Value(spokeKey{}).(*spoke); ok {
		s.trailer.Store(true)
	}
}

// TagConn implements stats.Handler.
func (spokeHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (spokeHandler) HandleConn(context.Context, stats.ConnStats) {}
