package otlpsend

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// GRPC sends over OTLP/gRPC. It is safe for concurrent use.
type GRPC struct {
	endOf
	opts  Options
	wire  *wire
	lines lines[*grpcLine]
}

// grpcLine is a connection and what is known about it.
type grpcLine struct {
	conn  *grpc.ClientConn
	watch *Watch
}

var _ Client = (*GRPC)(nil)

// NewGRPC returns a transport over connections that connect makes, at once and
// again for fresh ones. connect passes the options of its Watch to gRPC, asks
// for no compression itself, and does not wait for the network.
func NewGRPC(connect func(*Watch) (*grpc.ClientConn, error), o Options) (*GRPC, error) {
	g := &GRPC{opts: o, wire: newWire(o.Compression)}
	g.lines.open = func() (*grpcLine, error) {
		watch := &Watch{end: &g.endOf, wire: g.wire}
		conn, err := connect(watch)
		if err != nil {
			return nil, err
		}
		return &grpcLine{conn: conn, watch: watch}, nil
	}
	g.lines.close = func(l *grpcLine) { _ = l.conn.Close() } // fails only if it was closed
	g.lines.leave = o.Leave
	g.lines.lame = func(l *grpcLine) bool {
		// It would answer every request with its last error, and dial when it likes:
		// when to try again is the caller's to say.
		return l.conn.GetState() == connectivity.TransientFailure
	}
	if err := g.lines.first(); err != nil {
		return nil, err
	}
	return g, nil
}

// Close implements Client.
func (g *GRPC) Close() { g.lines.shut() }

// Send implements Transport. The attempt ends when ctx does. r.Body is read
// before the request goes out, into buffers of gRPC's own, because those may be
// read after the call has returned; nothing reads r.Body once Send has.
func (g *GRPC) Send(ctx context.Context, r *Request) Answer {
	verify, err := g.opts.verifier(r)
	if err != nil {
		return released(r, noKeys(err))
	}
	loan := frame.Lend(r.Body)
	answer := attempt(ctx, &g.lines, func(l *grpcLine) Answer { return g.send(ctx, l, r, &sending{loan: loan, verify: verify}) })
	loan.End()
	return released(r, answer)
}

// sending is what one attempt needs besides its request.
type sending struct {
	loan   *frame.Loan
	verify verifier
}

// methods are the full names of the Export methods.
var methods = [frame.NumSignals]string{
	frame.Traces:   "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
	frame.Metrics:  "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
	frame.Logs:     "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
	frame.Profiles: "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
}

func (g *GRPC) send(ctx context.Context, l *grpcLine, r *Request, s *sending) Answer {
	var (
		in      answerBody
		trailer metadata.MD
		spoke   spoke
	)
	call := spoke.watch(metadata.NewOutgoingContext(ctx, grpcMetadata(r)))
	err := l.conn.Invoke(call, methods[r.Signal], &messageBody{loan: s.loan}, &in,
		grpc.ForceCodecV2(g.wire), grpc.MaxCallRecvMsgSize(maxGRPCAnswer), grpc.Trailer(&trailer))
	switch {
	case ctx.Err() != nil:
		return NetworkAnswer(ctx, errors.Join(context.Cause(ctx), err))
	case err == nil:
		a := grpcAck(r.Signal, &in, first(trailer, receipt.Header), s.verify)
		a.Window = window(first(trailer, frame.HeaderWindow))
		return a
	}
	st, _ := status.FromError(err)
	if spoke.trailer.Load() && !madeByGRPC(st.Message()) {
		return ClassifyStatus(st)
	}
	return classifyLocal(ctx, st, l.watch.trouble())
}

// first returns the first value of a name, empty without one.
func first(md metadata.MD, name string) string {
	if values := md.Get(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

func grpcAck(s frame.Signal, in *answerBody, given string, verify verifier) Answer {
	if in.long {
		return notAnAck(fmt.Errorf("gateway answered OK: %w", errLongAnswer))
	}
	a := judgeAck(s, in.body, given, verify)
	if a.Err != nil {
		a.Err = fmt.Errorf("gateway answered OK: %w", a.Err)
	}
	return a
}

// grpcMetadata puts what Lifeline says about the frame in the place of what a
// client may have sent under the same name.
func grpcMetadata(r *Request) metadata.MD {
	md := make(metadata.MD, len(r.Meta)+len(r.Header))
	for key, values := range r.Meta {
		md.Append(key, values...)
	}
	for key, value := range r.Header {
		md.Set(key, value)
	}
	return md
}

// released ends an attempt.
func released(r *Request, a Answer) Answer {
	if r.Released != nil {
		r.Released()
	}
	return a
}
