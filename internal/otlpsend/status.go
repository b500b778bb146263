package otlpsend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// codeRows is the meaning of a status that a server sent. What no row names is
// Broken, as in rows.
var codeRows = map[codes.Code]row{
	codes.Unavailable:        {Down, CauseServer, ""},
	codes.Aborted:            {Down, CauseServer, ""},
	codes.Canceled:           {Down, CauseServer, ""},
	codes.DeadlineExceeded:   {Down, CauseTimeout, ""},
	codes.OutOfRange:         {Down, CauseServer, ""},
	codes.DataLoss:           {Down, CauseServer, ""},
	codes.ResourceExhausted:  {Down, CauseThrottled, ""},
	codes.Unauthenticated:    {Broken, CauseAuth, "check the credentials in grpc::auth or grpc::headers"},
	codes.PermissionDenied:   {Broken, CauseAuth, "check the credentials in grpc::auth or grpc::headers"},
	codes.NotFound:           {Broken, CauseClient, "check grpc::endpoint"},
	codes.AlreadyExists:      {Broken, CauseClient, ""},
	codes.FailedPrecondition: {Broken, CauseClient, "check audience: the gateway may take data for another one"},
	codes.Unimplemented:      {Broken, CauseClient, "check grpc::endpoint and compression: the server has no such service, or does not take what is sent"},
	codes.Unknown:            {Broken, CauseServer, ""},
	codes.Internal:           {Broken, CauseServer, ""},
	codes.InvalidArgument:    {BadData, CauseClient, ""},
}

// ClassifyStatus says what a status means that a server sent; it is not OK. It
// is a pure function.
func ClassifyStatus(st *status.Status) Answer {
	s := readStatus(st.Proto())
	meaning, named := codeRows[st.Code()]
	if !named {
		meaning = row{Broken, CauseClient, ""}
	}
	a := Answer{Verdict: meaning.verdict, Cause: meaning.cause, RetryAfter: s.retryAfter, Message: oneLine(s.message)}
	hint := meaning.hint
	switch st.Code() {
	case codes.Unavailable:
		if a.RetryAfter > 0 {
			a.Cause = CauseThrottled
		}
	case codes.ResourceExhausted:
		if s.tooLarge() {
			a.Verdict, a.Cause, a.RetryAfter = TooLarge, CauseClient, 0
		}
	case codes.InvalidArgument:
		a.Verdict, hint = judgeBadRequest(s)
	}
	a.Err = errors.New("gateway answered " + st.Code().String())
	if hint != "" {
		a.Err = fmt.Errorf("%w: %s", a.Err, hint)
	}
	if a.Message != "" {
		a.Err = fmt.Errorf("%w: %s", a.Err, a.Message)
	}
	return a
}

// readStatus takes out of a Status what matters here.
func readStatus(p *spb.Status) otlpStatus {
	s := otlpStatus{message: p.GetMessage()}
	for _, detail := range p.GetDetails() {
		var (
			info  errdetails.ErrorInfo
			retry errdetails.RetryInfo
		)
		switch {
		case s.reason == "" && detail.MessageIs(&info) && detail.UnmarshalTo(&info) == nil:
			s.reason = info.GetReason()
		case detail.MessageIs(&retry) && detail.UnmarshalTo(&retry) == nil:
			s.retryAfter = min(max(retry.GetRetryDelay().AsDuration(), 0), maxRetryAfter)
		}
	}
	return s
}

// nonGRPC begins gRPC's words about an answer that is HTTP and no gRPC.
const nonGRPC = "unexpected HTTP status code received from server: "

// classifyLocal says what a status means that gRPC made itself because no
// server's came. trouble is why the connection could not be made, if so.
func classifyLocal(ctx context.Context, st *status.Status, trouble error) Answer {
	text := oneLine(st.Message())
	if _, rest, ok := strings.Cut(st.Message(), nonGRPC); ok {
		number, _, _ := strings.Cut(rest, " ")
		if code, err := strconv.Atoi(number); err == nil {
			return classifyPage(code, text)
		}
	}
	switch {
	case trouble != nil:
		return NetworkAnswer(ctx, trouble)
	case strings.HasPrefix(text, "grpc: error while"):
		return Answer{Verdict: Broken, Cause: CauseClient, Err: fmt.Errorf("nothing was sent: %s", text)}
	case strings.Contains(text, "looked like an HTTP/1.1 header"), strings.Contains(text, "frame too large"):
		return notAnAck(fmt.Errorf("gateway speaks another protocol: %s", text))
	case ownLimit(st.Message()):
		return notAnAck(fmt.Errorf("gateway answered: %w", errLongAnswer))
	case strings.Contains(text, "keepalive"), strings.Contains(text, "deadline exceeded"), strings.Contains(text, "i/o timeout"):
		return Answer{Verdict: Down, Cause: CauseTimeout, Err: errors.New(text)}
	case st.Code() == codes.Unavailable, strings.Contains(text, "RST_STREAM"):
		return NetworkAnswer(ctx, errors.New(text))
	}
	return notAnAck(fmt.Errorf("gateway's answer is no gRPC: %s: %s", st.Code(), text))
}

// classifyPage judges an HTTP answer to a gRPC request: of a proxy, a firewall
// or whoever has the address now.
func classifyPage(code int, text string) Answer {
	if code < http.StatusBadRequest {
		return notAnAck(fmt.Errorf("gateway answered as no gRPC server does: %s", text))
	}
	meaning := statusRow(code)
	return Answer{Verdict: meaning.verdict, Cause: meaning.cause, Err: fmt.Errorf("gateway answered as no gRPC server does: %s", text)}
}
