package otlpsend_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

const protobuf = "application/x-protobuf"

// reply is exactly what a server of the table answers.
type reply struct {
	code   int
	header map[string]string
	body   []byte
	cut    bool // promise a longer body and hang up

	trailer map[string]string
}

func (a reply) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for key, value := range a.header {
		w.Header().Set(key, value)
	}
	if a.cut {
		w.Header().Set("Content-Length", "1000")
	}
	for key := range a.trailer {
		w.Header().Add("Trailer", key)
	}
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body)
	for key, value := range a.trailer {
		w.Header().Set(key, value)
	}
	if a.cut {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func answerOf(code int, header map[string]string, body []byte) reply {
	return reply{code: code, header: header, body: body}
}

func (a reply) cutOff() reply { a.cut = true; return a }

// must is for values of a table that is built before any test runs.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func statusBody(code codes.Code, message string, details ...protoadapt.MessageV1) []byte {
	return must(proto.Marshal(must(status.New(code, message).WithDetails(details...)).Proto()))
}

func partialSuccess(rejected int64, message string) []byte {
	r := plogotlp.NewExportResponse()
	r.PartialSuccess().SetRejectedLogRecords(rejected)
	r.PartialSuccess().SetErrorMessage(message)
	return must(r.MarshalProto())
}

// send posts one small frame of logs to url with an ordinary client.
func send(t *testing.T, url string) otlpsend.Answer {
	transport, err := overHTTP(freshClient(t), url)
	require.NoError(t, err)
	return transport.Send(t.Context(), &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes("zstd frame")})
}

// freshClient has connections of its own, closed with the test.
func freshClient(t *testing.T) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

var (
	pb     = map[string]string{"Content-Type": protobuf}
	html   = map[string]string{"Content-Type": "text/html; charset=utf-8"}
	page   = []byte("<html>this domain is for sale</html>")
	notAck = want{verdict: otlpsend.Broken, cause: otlpsend.CauseNotAnAck}
)

func retry(value string) map[string]string {
	return map[string]string{"Retry-After": value, "Content-Type": protobuf, "Date": "Wed, 25 Nov 2026 06:31:00 GMT"}
}

// want is what an answer means.
type want struct {
	verdict  otlpsend.Verdict
	cause    otlpsend.Cause
	after    time.Duration
	rejected int64
	message  string
	err      string // part of the error's text
}

// answers is the table: what exactly this answer means.
var answers = []struct {
	name  string
	reply reply
	want  want
}{
	{"200 right", answerOf(200, pb, partialSuccess(0, "")), want{}},
	{"200 no body", answerOf(200, pb, nil), want{}},
	{"200 with parameters", answerOf(200, map[string]string{"Content-Type": protobuf + "; charset=utf-8"}, nil), want{}},
	{"200 with broken parameters", answerOf(200, map[string]string{"Content-Type": protobuf + "; x"}, nil), want{}},
	{"200 partial", answerOf(200, pb, partialSuccess(3, "too\nold\x00")), want{rejected: 3, message: "too old"}},
	{"200 partial, less than nothing", answerOf(200, pb, partialSuccess(-3, "")), want{}},
	{"200 parked", answerOf(200, html, page), notAck},
	{"200 json", answerOf(200, map[string]string{"Content-Type": "application/json"}, []byte(`{"status":"ok"}`)), notAck},
	{"200 no type", answerOf(200, map[string]string{"Content-Type": ""}, nil), notAck},
	{"200 cut off", answerOf(200, pb, partialSuccess(0, "x")).cutOff(), notAck},
	{"200 too long", answerOf(200, pb, make([]byte, 65<<10)), want{verdict: otlpsend.Broken, cause: otlpsend.CauseNotAnAck, err: "64 KiB"}},
	{"200 garbage", answerOf(200, pb, page), notAck},
	{"204", answerOf(204, nil, nil), notAck},
	{"202", answerOf(202, pb, nil), notAck},
	{"304", answerOf(304, nil, nil), notAck},

	{"400 firewall", answerOf(400, html, page), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 says nothing", answerOf(400, pb, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 cut off", answerOf(400, pb, statusBody(codes.InvalidArgument, "bad")).cutOff(), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 Status", answerOf(400, pb, statusBody(codes.InvalidArgument, "bad span id")), want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "bad span id"}},
	{"400 Status as json", answerOf(400, map[string]string{"Content-Type": "application/json"}, []byte(`{"code":3}`)), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 too large", answerOf(400, pb, statusBody(codes.InvalidArgument, "http: request body too large")), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "http: request body too large"}},
	{"400 by reason", answerOf(400, pb, statusBody(codes.InvalidArgument, "no", &errdetails.ErrorInfo{Reason: "MESSAGE_TOO_LARGE", Domain: "lifeline"})), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"400 about a length in the data", answerOf(400, pb, statusBody(codes.InvalidArgument, "not valid: a length that is too large")), want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "not valid: a length that is too large"}},
	{"400 headers too large, nginx", answerOf(400, html, []byte("Request Header Or Cookie Too Large")), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 encoding", answerOf(400, pb, statusBody(codes.InvalidArgument, "unsupported Content-Encoding: zstd")), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, message: "unsupported Content-Encoding: zstd", err: "check compression"}},
	{"401", answerOf(401, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseAuth}},
	{"403", answerOf(403, html, page), want{verdict: otlpsend.Broken, cause: otlpsend.CauseAuth}},
	{"404", answerOf(404, html, page), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, err: "http::endpoint"}},
	{"405", answerOf(405, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"407", answerOf(407, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseProxy}},
	{"408", answerOf(408, nil, nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseTimeout}},
	{"413", answerOf(413, html, page), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient}},
	{"415", answerOf(415, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, err: "check compression"}},
	{"418", answerOf(418, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"421", answerOf(421, pb, statusBody(codes.FailedPrecondition, "audience")), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, message: "audience", err: "check audience"}},
	{"422 Status", answerOf(422, pb, statusBody(codes.InvalidArgument, "no")), want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "no"}},
	{"422 page", answerOf(422, html, page), want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"429", answerOf(429, nil, nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled}},
	{"429 seconds", answerOf(429, retry("7"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 7 * time.Second}},
	{"429 date", answerOf(429, retry("Wed, 25 Nov 2026 06:31:09 GMT"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 9 * time.Second}},
	{"429 the past", answerOf(429, retry("Wed, 25 Nov 2020 06:31:09 GMT"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled}},
	{"429 a year", answerOf(429, retry("31536000"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: time.Hour}},
	{"429 for ever", answerOf(429, retry("9223372036854775807"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: time.Hour}},
	{"429 soon", answerOf(429, retry("soon"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled}},
	{"429 larger than max", answerOf(429, pb, statusBody(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)")), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "grpc: received message larger than max (5 vs. 4)"}},
	{"429 by reason", answerOf(429, pb, statusBody(codes.ResourceExhausted, "no", &errdetails.ErrorInfo{Reason: "MESSAGE_TOO_LARGE", Domain: "lifeline"})), want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"500", answerOf(500, html, page), want{verdict: otlpsend.Broken, cause: otlpsend.CauseServer}},
	{"501", answerOf(501, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseServer}},
	{"502", answerOf(502, html, page), want{verdict: otlpsend.Down, cause: otlpsend.CauseServer}},
	{"503", answerOf(503, nil, nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseServer}},
	{"503 throttled", answerOf(503, retry("2"), nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 2 * time.Second}},
	{"503 RetryInfo", answerOf(503, pb, statusBody(codes.Unavailable, "full", retryInfo(3*time.Second))), want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 3 * time.Second, message: "full"}},
	{"504", answerOf(504, nil, nil), want{verdict: otlpsend.Down, cause: otlpsend.CauseServer}},
	{"599", answerOf(599, nil, nil), want{verdict: otlpsend.Broken, cause: otlpsend.CauseServer}},
}

func TestEveryAnswerOfTheTable(t *testing.T) {
	for _, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.reply)
			defer server.Close()
			answer := send(t, server.URL)
			test.want.check(t, answer)
			require.False(t, answer.Date.IsZero(), "every server told its time")
		})
	}
}

func (w want) check(t *testing.T, answer otlpsend.Answer) {
	got := want{answer.Verdict, answer.Cause, answer.RetryAfter, answer.Rejected, answer.Message, w.err}
	require.Equal(t, w, got, "error: %v", answer.Err)
	if answer.Verdict == otlpsend.Delivered {
		require.NoError(t, answer.Err)
	} else {
		require.ErrorContains(t, answer.Err, w.err)
	}
}

func TestNoRedirectIsEverFollowed(t *testing.T) {
	for _, code := range []int{301, 302, 303, 307, 308} {
		var visits atomic.Int32
		elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			visits.Add(1)
			w.Header().Set("Content-Type", protobuf)
		}))
		defer elsewhere.Close()
		server := httptest.NewServer(answerOf(code, map[string]string{"Location": elsewhere.URL + "/v1/logs"}, nil))
		defer server.Close()
		// A client that follows redirects, as every http.Client does by itself,
		// must lose that habit; the caller's own copy must keep it.
		client := freshClient(t)
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
		transport, err := overHTTP(client, server.URL)
		require.NoError(t, err)
		answer := transport.Send(t.Context(), &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes("x")})
		require.Equal(t, otlpsend.Broken, answer.Verdict)
		require.Equal(t, otlpsend.CauseNotAnAck, answer.Cause)
		require.ErrorContains(t, answer.Err, "redirects are never followed")
		require.Zero(t, visits.Load(), "the telemetry went to a stranger after %d", code)
		require.NoError(t, client.CheckRedirect(nil, nil))
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	server := httptest.NewServer(answerOf(400, pb, statusBody(codes.InvalidArgument, strings.Repeat("é\n\x1b[31mno ", 200))))
	defer server.Close()
	answer := send(t, server.URL)
	require.LessOrEqual(t, len(answer.Message), 256)
	require.NotContains(t, answer.Message, "\x1b")
	require.NotContains(t, answer.Message, "\n")
}

// FuzzClassify looks for panics and for acks that are none.
func FuzzClassify(f *testing.F) {
	raw, err := proto.Marshal(&spb.Status{Code: 3, Message: "bad"})
	require.NoError(f, err)
	f.Add(200, protobuf, []byte(nil), "", "")
	f.Add(200, "text/html", []byte("<html>"), "", "")
	f.Add(400, protobuf, raw, "3", "Wed, 25 Nov 2026 06:31:00 GMT")
	f.Add(503, protobuf, raw, "Wed, 25 Nov 2026 06:31:00 GMT", "")
	f.Fuzz(func(t *testing.T, code int, contentType string, body []byte, after, date string) {
		header := http.Header{"Content-Type": {contentType}, "Retry-After": {after}, "Date": {date}}
		for s := range frame.Signal(frame.NumSignals) {
			a := otlpsend.Classify(otlpsend.Response{Signal: s, Status: code, Header: header, Body: body, Now: time.Unix(1790000000, 0)})
			require.LessOrEqual(t, a.Verdict, otlpsend.BadData)
			require.GreaterOrEqual(t, a.RetryAfter, time.Duration(0))
			require.LessOrEqual(t, a.RetryAfter, time.Hour)
			require.GreaterOrEqual(t, a.Rejected, int64(0))
			require.LessOrEqual(t, len(a.Message), 256)
			require.Equal(t, a.Verdict == otlpsend.Delivered, a.Err == nil)
			require.Equal(t, a.Verdict == otlpsend.Delivered, a.Cause == otlpsend.CauseNone)
			if a.Verdict == otlpsend.Delivered {
				require.Equal(t, http.StatusOK, code)
				require.True(t, strings.HasPrefix(strings.ToLower(strings.TrimSpace(contentType)), protobuf))
			}
		}
	})
}

// overHTTP returns a transport that uses the client, whatever fails.
func overHTTP(client *http.Client, endpoint string) (*otlpsend.HTTP, error) {
	return otlpsend.NewHTTP(endpoint, func() (*otlpsend.HTTPConn, error) {
		return &otlpsend.HTTPConn{Client: client, Close: client.CloseIdleConnections}, nil
	}, otlpsend.Options{})
}

// fresh makes clients with connections of their own, like that of the model.
func fresh(model *http.Transport) func() (*otlpsend.HTTPConn, error) {
	return func() (*otlpsend.HTTPConn, error) {
		transport := model.Clone()
		return &otlpsend.HTTPConn{Client: &http.Client{Transport: transport}, Close: transport.CloseIdleConnections}, nil
	}
}
