package lifelinereceiver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// grpc-go reads ahead for streams that nobody listens to yet. Small static
// windows and a bound on such streams keep that memory bounded.
const (
	streamWindow = 64 << 10
	connWindow   = 1 << 20
	maxUnread    = 256

	// streamWorkers are goroutines whose stacks have grown already; more calls at a
	// time get one of their own.
	streamWorkers = 32
)

var grpcServices = [frame.NumSignals]string{
	"opentelemetry.proto.collector.trace.v1.TraceService",
	"opentelemetry.proto.collector.metrics.v1.MetricsService",
	"opentelemetry.proto.collector.logs.v1.LogsService",
	"opentelemetry.proto.collector.profiles.v1development.ProfilesService",
}

// grpcServer takes requests over gRPC.
type grpcServer struct {
	gateway  *gateway
	observer observer
	unread   atomic.Int64 // streams whose body has not been read

	// Owned by Start and Shutdown.
	server *grpc.Server // nil: the protocol is off
	listener
}

func (s *grpcServer) start(ctx context.Context, host component.Host) error {
	g := s.gateway
	if !g.cfg.Protocols.GRPC.HasValue() {
		return nil
	}
	cfg := *g.cfg.Protocols.GRPC.Get()
	cfg.MaxRecvMsgSizeMiB = int(g.cfg.maxGRPC() >> 20)
	var options []configgrpc.ToServerOption
	for _, o := range []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.InTapHandle(s.tap), grpc.NumStreamWorkers(streamWorkers),
	} {
		options = append(options, configgrpc.WithGrpcServerOption(o))
	}
	server, err := cfg.ToServer(ctx, host.GetExtensions(), g.settings, options...)
	if err != nil {
		return fmt.Errorf("protocols::grpc: %w", err)
	}
	for i, sink := range g.sinks {
		if sink != nil {
			server.RegisterService(s.service(frame.Signal(i)), s) //nolint:contextcheck // a call has its own context, not that of Start
		}
	}
	ln, err := cfg.NetAddr.Listen(ctx)
	if err != nil {
		return fmt.Errorf("protocols::grpc::endpoint: %w", err)
	}
	s.server = server
	s.open(host, g.settings.Logger, "grpc", ln.Addr(), func() error { return server.Serve(ln) })
	return nil
}

// stop takes no more calls and waits for those there are; close cuts it short.
func (s *grpcServer) stop() {
	if s.server != nil {
		s.server.GracefulStop()
	}
}

// close ends every connection.
func (s *grpcServer) close() {
	if s.server != nil {
		s.server.Stop()
	}
	s.serving.Wait()
}

// service describes the OTLP service of a signal by hand, as a stream: the wire
// is the same as of a unary call, but the handler runs before the body is read,
// so that authentication and admission come first.
func (s *grpcServer) service(signal frame.Signal) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: grpcServices[signal],
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Export", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return s.serve(stream, signal) },
		}},
	}
}

// tap refuses a stream at its headers when too many are unread already.
func (s *grpcServer) tap(ctx context.Context, _ *tap.Info) (context.Context, error) {
	if s.unread.Load() >= maxUnread {
		st, _ := errBusy.status()
		return nil, st.Err()
	}
	return ctx, nil
}

func (s *grpcServer) serve(stream grpc.ServerStream, signal frame.Signal) error {
	g, ctx := s.gateway, stream.Context()
	md, _ := metadata.FromIncomingContext(ctx)
	req := &request{
		signal: signal, format: formatProto, observer: s.observer, arrived: time.Now(), cert: grpcCert(ctx),
		header:   func(name string) []string { return md.Get(name) },
		deadline: ctx.Deadline,
		limit:    g.cfg.maxGRPC(),
	}
	m, ok := g.newMessage(ctx, req)
	if !ok {
		return status.Error(codes.Unavailable, "this build of the gateway does not fit its gRPC library")
	}
	s.unread.Add(1)
	read := sync.OnceFunc(func() { s.unread.Add(-1) })
	defer read()
	req.begin, req.patience = m.begin, m.patience
	req.read = func(held *reservation, length int64) ([]byte, error) {
		defer read()
		return m.read(held, length)
	}
	j, refused := g.handle(ctx, req)
	if refused != nil {
		st, _ := refused.status()
		return st.Err()
	}
	g.headAck(req, j, func(name, value string) { stream.SetTrailer(metadata.Pairs(name, value)) })
	answer, err := otlpcodec.Response(signal, j.rejected, j.message, false)
	if err != nil {
		return status.Error(codes.Unavailable, errWrite.message)
	}
	return stream.SendMsg(&rawMessage{bytes: answer})
}

// rawMessage is a message as it came, or as it goes.
type rawMessage struct{ bytes []byte }

// rawCodec hands messages through as bytes. Other services of the server, such
// as health checks, keep the codec they know.
type rawCodec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*rawMessage); ok {
		return mem.BufferSlice{mem.SliceBuffer(m.bytes)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*rawMessage); ok {
		m.bytes = data.Materialize() // a copy: grpc-go uses its buffers again
		return nil
	}
	return c.CodecV2.Unmarshal(data, v)
}

// grpcCert returns the verified client certificate of a call, nil without one.
func grpcCert(ctx context.Context) *x509.Certificate {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return peerCert(&info.State)
}

// peerCert returns the verified client certificate, nil without one.
func peerCert(state *tls.ConnectionState) *x509.Certificate {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return nil
	}
	return state.VerifiedChains[0][0]
}
