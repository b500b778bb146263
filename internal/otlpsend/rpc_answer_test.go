package otlpsend_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// h2c starts a server that takes HTTP/2 without TLS, as a gRPC client speaks it,
// and counts its requests.
func h2c(t testing.TB, handler http.Handler) (addr string, served *atomic.Int32) {
	served = new(atomic.Int32)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		handler.ServeHTTP(w, r)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), served
}

// overGRPC returns a transport without TLS.
func overGRPC(t *testing.T, addr string, o otlpsend.Options) *otlpsend.GRPC {
	g, err := otlpsend.NewGRPC(func(w *otlpsend.Watch) (*grpc.ClientConn, error) {
		opts := append(w.Options(), w.Dialer(dial.New().DialContext), grpc.WithTransportCredentials(insecure.NewCredentials()))
		return grpc.NewClient("passthrough:///"+addr, opts...)
	}, o)
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

func sendRPC(ctx context.Context, t *testing.T, addr string) otlpsend.Answer {
	return overGRPC(t, addr, otlpsend.Options{}).Send(ctx, &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes("zstd frame")})
}

var rpc = map[string]string{"Content-Type": "application/grpc+proto"}

// message is one gRPC message, not compressed.
func message(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...) //nolint:gosec // a test message is short
}

// ok is a gRPC server's success with an encoded answer.
func ok(body []byte) reply {
	return reply{code: 200, header: rpc, body: message(body), trailer: map[string]string{"Grpc-Status": "0"}}
}

// refusal is a gRPC server's status, in the headers alone as servers send it, or
// in trailers behind headers.
func refusal(code codes.Code, text string, details ...protoadapt.MessageV1) reply {
	fields := map[string]string{"Grpc-Status": strconv.Itoa(int(code)), "Grpc-Message": text}
	if len(details) > 0 {
		fields["Grpc-Status-Details-Bin"] = base64.RawStdEncoding.EncodeToString(statusBody(code, text, details...))
	}
	return reply{code: 200, header: rpc, trailer: fields}
}

// only puts the trailers into the headers.
func (a reply) only() reply {
	header := maps.Clone(a.header)
	maps.Copy(header, a.trailer)
	return reply{code: a.code, header: header}
}

func retryInfo(d time.Duration) *errdetails.RetryInfo {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

var messageTooLarge = &errdetails.ErrorInfo{Reason: "MESSAGE_TOO_LARGE", Domain: "lifeline"}

func down(cause otlpsend.Cause) want   { return want{verdict: otlpsend.Down, cause: cause} }
func broken(cause otlpsend.Cause) want { return want{verdict: otlpsend.Broken, cause: cause} }
func (w want) says(text string) want   { w.message = text; return w }
func (w want) errs(text string) want   { w.err = text; return w }
func (w want) in(d time.Duration) want { w.after = d; return w }

// rpcAnswers is the table for gRPC: what exactly this answer means.
var rpcAnswers = []struct {
	name  string
	reply reply
	want  want
}{
	{"OK", ok(partialSuccess(0, "")), want{}},
	{"OK empty", ok(nil), want{}},
	{"OK partial", ok(partialSuccess(3, "too old")), want{rejected: 3, message: "too old"}},
	{"OK undecodable", ok(page), notAck.errs("does not decode")},
	{"OK too long", ok(make([]byte, 65<<10)), notAck.errs("64 KiB")},
	{"OK just too long", ok(make([]byte, 64<<10+1)), notAck.errs("64 KiB")},
	{"OK far too long", ok(make([]byte, 5<<20)), notAck.errs("64 KiB")},
	{"OK cut off", reply{code: 200, header: rpc, body: message(partialSuccess(1, ""))[:7], cut: true}, down(otlpsend.CauseRefused)},
	{"OK without a message", reply{code: 200, header: rpc, trailer: map[string]string{"Grpc-Status": "0"}}, notAck},
	{"OK trailers only", ok(nil).only(), notAck},
	{"no status", reply{code: 200, header: rpc, body: message(nil)}, notAck},

	{"CANCELLED", refusal(codes.Canceled, "gone"), down(otlpsend.CauseServer).says("gone")},
	{"UNKNOWN", refusal(codes.Unknown, "no"), broken(otlpsend.CauseServer).says("no")},
	{"INVALID_ARGUMENT", refusal(codes.InvalidArgument, "bad span id"), want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "bad span id"}},
	{"INVALID_ARGUMENT encoding", refusal(codes.InvalidArgument, "unsupported encoding zstd"), broken(otlpsend.CauseClient).says("unsupported encoding zstd").errs("check compression")},
	{"INVALID_ARGUMENT by reason", refusal(codes.InvalidArgument, "no", messageTooLarge), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"DEADLINE_EXCEEDED", refusal(codes.DeadlineExceeded, "slow"), down(otlpsend.CauseTimeout).says("slow")},
	{"NOT_FOUND", refusal(codes.NotFound, "no"), broken(otlpsend.CauseClient).says("no").errs("grpc::endpoint")},
	{"ALREADY_EXISTS", refusal(codes.AlreadyExists, "no"), broken(otlpsend.CauseClient).says("no")},
	{"PERMISSION_DENIED", refusal(codes.PermissionDenied, "no"), broken(otlpsend.CauseAuth).says("no").errs("grpc::auth")},
	{"RESOURCE_EXHAUSTED", refusal(codes.ResourceExhausted, "busy"), down(otlpsend.CauseThrottled).says("busy")},
	{"RESOURCE_EXHAUSTED RetryInfo", refusal(codes.ResourceExhausted, "busy", retryInfo(7*time.Second)), down(otlpsend.CauseThrottled).says("busy").in(7 * time.Second)},
	{"RESOURCE_EXHAUSTED by reason", refusal(codes.ResourceExhausted, "no", messageTooLarge), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"RESOURCE_EXHAUSTED by reason, RetryInfo", refusal(codes.ResourceExhausted, "no", retryInfo(time.Second), messageTooLarge), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"RESOURCE_EXHAUSTED larger than max", refusal(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "grpc: received message larger than max (5 vs. 4)"}},
	{"FAILED_PRECONDITION", refusal(codes.FailedPrecondition, "audience"), broken(otlpsend.CauseClient).says("audience").errs("check audience")},
	{"ABORTED", refusal(codes.Aborted, "no"), down(otlpsend.CauseServer).says("no")},
	{"OUT_OF_RANGE", refusal(codes.OutOfRange, "no"), down(otlpsend.CauseServer).says("no")},
	{"UNIMPLEMENTED", refusal(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding zstd"), broken(otlpsend.CauseClient).says("grpc: Decompressor is not installed for grpc-encoding zstd").errs("compression")},
	{"INTERNAL", refusal(codes.Internal, "no"), broken(otlpsend.CauseServer).says("no")},
	{"UNAVAILABLE", refusal(codes.Unavailable, "full"), down(otlpsend.CauseServer).says("full")},
	{"UNAVAILABLE RetryInfo", refusal(codes.Unavailable, "full", retryInfo(1500*time.Millisecond)), down(otlpsend.CauseThrottled).says("full").in(1500 * time.Millisecond)},
	{"UNAVAILABLE for a year", refusal(codes.Unavailable, "full", retryInfo(365*24*time.Hour)), down(otlpsend.CauseThrottled).says("full").in(time.Hour)},
	{"UNAVAILABLE less than nothing", refusal(codes.Unavailable, "full", retryInfo(-time.Hour)), down(otlpsend.CauseServer).says("full")},
	{"DATA_LOSS", refusal(codes.DataLoss, "no"), down(otlpsend.CauseServer).says("no")},
	{"UNAUTHENTICATED", refusal(codes.Unauthenticated, "no"), broken(otlpsend.CauseAuth).says("no").errs("grpc::headers")},
	{"a code that is none", refusal(99, "no"), broken(otlpsend.CauseClient).says("no")},

	{"a page", answerOf(200, html, page), notAck.errs("text/html")},
	{"a page of JSON", answerOf(200, map[string]string{"Content-Type": "application/json"}, []byte(`{"status":"ok"}`)), notAck},
	{"no type", answerOf(200, map[string]string{"Content-Type": ""}, nil), notAck},
	{"an HTTP ack", answerOf(200, pb, nil), notAck},
	{"204", answerOf(204, nil, nil), notAck},
	{"302", answerOf(302, map[string]string{"Location": "/login"}, nil), notAck},
	{"308", answerOf(308, map[string]string{"Location": "/login"}, nil), notAck},
	{"400 firewall", answerOf(400, html, page), broken(otlpsend.CauseClient)},
	{"400 Status", answerOf(400, pb, statusBody(codes.InvalidArgument, "bad")), broken(otlpsend.CauseClient)},
	{"401", answerOf(401, html, page), broken(otlpsend.CauseAuth)},
	{"403", answerOf(403, html, page), broken(otlpsend.CauseAuth)},
	{"404", answerOf(404, html, page), broken(otlpsend.CauseClient)},
	{"413", answerOf(413, html, page), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient}},
	{"415", answerOf(415, html, page), broken(otlpsend.CauseClient)},
	{"421", answerOf(421, html, page), broken(otlpsend.CauseClient)},
	{"429", answerOf(429, html, page), down(otlpsend.CauseThrottled)},
	{"500", answerOf(500, html, page), broken(otlpsend.CauseServer)},
	{"502", answerOf(502, html, page), down(otlpsend.CauseServer)},
	{"503", answerOf(503, html, page), down(otlpsend.CauseServer)},
	{"504", answerOf(504, html, page), down(otlpsend.CauseServer)},
}

func TestEveryStatusOfTheTable(t *testing.T) {
	named := map[codes.Code]bool{}
	for _, test := range rpcAnswers {
		replies := map[string]reply{"": test.reply}
		if code, err := strconv.Atoi(test.reply.trailer["Grpc-Status"]); err == nil {
			named[codes.Code(code)] = true //nolint:gosec // a code of the table
			if code != 0 {
				replies[" in trailers only"] = test.reply.only()
			}
		}
		for form, reply := range replies {
			t.Run(test.name+form, func(t *testing.T) {
				addr, served := h2c(t, reply)
				answer := sendRPC(t.Context(), t, addr)
				test.want.check(t, answer)
				require.EqualValues(t, 1, served.Load(), "no retry behind our back")
			})
		}
	}
	for code := range codes.Code(17) {
		require.True(t, named[code], "no row for %s", code)
	}
}
