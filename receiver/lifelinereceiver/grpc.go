package lifelinereceiver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.uber.org/zap"
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
	maxWaiting   = 256
)

var grpcServices = [frame.NumSignals]string{
	"opentelemetry.proto.collector.trace.v1.TraceService",
	"opentelemetry.proto.collector.metrics.v1.MetricsService",
	"opentelemetry.proto.collector.logs.v1.LogsService",
	"opentelemetry.proto.collector.profiles.v1development.ProfilesService",
}

func (g *gateway) startGRPC(ctx context.Context, host component.Host) error {
	if !g.cfg.Protocols.GRPC.HasValue() {
		return nil
	}
	cfg := *g.cfg.Protocols.GRPC.Get()
	cfg.MaxRecvMsgSizeMiB = int(g.cfg.maxGRPC() >> 20)
	var options []configgrpc.ToServerOption
	for _, o := range []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{encoding.GetCodecV2("proto")}),
		grpc.StaticStreamWindowSize(streamWindow), grpc.StaticConnWindowSize(connWindow),
		grpc.InTapHandle(g.tap),
	} {
		options = append(options, configgrpc.WithGrpcServerOption(o))
	}
	server, err := cfg.ToServer(ctx, host.GetExtensions(), g.telemetry, options...)
	if err != nil {
		return fmt.Errorf("protocols::grpc: %w", err)
	}
	for i, sink := range g.sinks {
		if s := frame.Signal(i); sink != nil {
			server.RegisterService(g.service(s), g) //nolint:contextcheck // a call has its own context, not that of Start
		}
	}
	listener, err := cfg.NetAddr.Listen(ctx)
	if err != nil {
		return fmt.Errorf("protocols::grpc::endpoint: %w", err)
	}
	g.grpcServer, g.grpcAddr = server, listener.Addr()
	g.log.Info("Listening", zap.String("protocol", "grpc"), zap.Stringer("endpoint", listener.Addr()))
	g.serve(host, func() error { return server.Serve(listener) }, grpc.ErrServerStopped)
	return nil
}

// service describes the OTLP service of a signal by hand, as a stream: the wire
// is the same as of a unary call, but the handler runs before the body is read,
// so that authentication and admission come first.
func (g *gateway) service(s frame.Signal) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: grpcServices[s],
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Export", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error { return g.serveGRPC(stream, s) },
		}},
	}
}

// tap refuses a stream at its headers when too many wait for room already.
func (g *gateway) tap(ctx context.Context, _ *tap.Info) (context.Context, error) {
	if g.waiting.Load() >= maxWaiting {
		st, _ := errBusy.status()
		return nil, st.Err()
	}
	return ctx, nil
}

func (g *gateway) serveGRPC(stream grpc.ServerStream, s frame.Signal) error {
	ctx := stream.Context()
	md, _ := metadata.FromIncomingContext(ctx)
	limit := g.cfg.maxGRPC()
	req := &request{
		signal: s, format: "protobuf", observer: g.viaGRPC, arrived: time.Now(), certCN: grpcCN(ctx),
		header:   func(name string) []string { return md.Get(name) },
		reserve:  limit,
		deadline: ctx.Deadline,
	}
	if size, err := strconv.ParseInt(req.one(frame.HeaderSize), 10, 64); err == nil && size >= 0 && size < limit {
		req.reserve = size // grpc-go does not let us see the length before it has read the message
	}
	g.waiting.Add(1)
	read := sync.OnceFunc(func() { g.waiting.Add(-1) })
	defer read()
	req.read = func(answer context.Context, held *reservation) ([]byte, error) {
		defer read()
		return g.receive(answer, stream, req, held)
	}
	j, refused := g.handle(ctx, req)
	if refused != nil {
		st, _ := refused.status()
		return st.Err()
	}
	answer, err := otlpcodec.Response(s, j.rejected, j.message, false)
	if err != nil {
		return status.Error(codes.Unavailable, errWrite.message)
	}
	return stream.SendMsg(&rawMessage{bytes: answer})
}

// receive reads the one message of a stream. A reader of its own lets the
// handler give up on a body that does not come; ending the call ends the reader.
func (g *gateway) receive(answer context.Context, stream grpc.ServerStream, r *request, held *reservation) ([]byte, error) {
	type result struct {
		raw []byte
		err error
	}
	got := make(chan result, 1)
	if !g.run(&g.readers, func() {
		var m rawMessage
		err := stream.RecvMsg(&m)
		if err == nil {
			// The message is whole when the client has closed its side.
			if err = stream.RecvMsg(&rawMessage{}); errors.Is(err, io.EOF) {
				err = nil
			} else if err == nil {
				err = undecodable(errors.New("more than one message in one call"))
			}
		}
		got <- result{m.bytes, err}
	}) {
		return nil, errClosing
	}
	timer := time.NewTimer(time.Until(r.arrived.Add(g.bodyTimeout())))
	defer timer.Stop()
	select {
	case res := <-got:
		if res.err != nil {
			return nil, refuseMessage(res.err)
		}
		if int64(len(res.raw)) > held.held && !held.resize(int64(len(res.raw))) {
			return nil, errBusy
		}
		return res.raw, nil
	case <-timer.C:
	case <-answer.Done():
	}
	return nil, errSlow
}

// refuseMessage judges an error of RecvMsg. grpc-go has sent a status of its own
// by then ("larger than max", INTERNAL for a bad compression); what is returned
// here is for the receiver's metrics.
func refuseMessage(err error) error {
	switch status.Code(err) {
	case codes.ResourceExhausted: // "received message larger than max"
		return tooLarge("the request is")
	case codes.Internal, codes.InvalidArgument: // it does not decompress, or its framing is broken
		return fmt.Errorf("%w: %s", errEncoding, status.Convert(err).Message())
	case codes.Unimplemented:
		return unsupported(0, "unsupported encoding: use zstd, gzip, snappy or none")
	}
	return err
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

// grpcCN returns the name in the verified client certificate of a call.
func grpcCN(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return ""
	}
	return peerCN(&info.State)
}

// peerCN returns the common name of the verified client certificate, if there is one.
func peerCN(state *tls.ConnectionState) string {
	if state == nil || len(state.VerifiedChains) == 0 || len(state.VerifiedChains[0]) == 0 {
		return ""
	}
	return state.VerifiedChains[0][0].Subject.CommonName
}
