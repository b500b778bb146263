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
}

func (a reply) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	for key, value := range a.header {
		w.Header().Set(key, value)
	}
	if a.cut {
		w.Header().Set("Content-Length", "1000")
	}
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body)
	if a.cut {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

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
	transport, err := otlpsend.NewHTTP(freshClient(t), url)
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
	{"200 right", reply{200, pb, partialSuccess(0, ""), false}, want{}},
	{"200 no body", reply{200, pb, nil, false}, want{}},
	{"200 with parameters", reply{200, map[string]string{"Content-Type": protobuf + "; charset=utf-8"}, nil, false}, want{}},
	{"200 with broken parameters", reply{200, map[string]string{"Content-Type": protobuf + "; x"}, nil, false}, want{}},
	{"200 partial", reply{200, pb, partialSuccess(3, "too\nold\x00"), false}, want{rejected: 3, message: "too old"}},
	{"200 partial, less than nothing", reply{200, pb, partialSuccess(-3, ""), false}, want{}},
	{"200 parked", reply{200, html, page, false}, notAck},
	{"200 json", reply{200, map[string]string{"Content-Type": "application/json"}, []byte(`{"status":"ok"}`), false}, notAck},
	{"200 no type", reply{200, map[string]string{"Content-Type": ""}, nil, false}, notAck},
	{"200 cut off", reply{200, pb, partialSuccess(0, "x"), true}, notAck},
	{"200 too long", reply{200, pb, make([]byte, 65<<10), false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseNotAnAck, err: "64 KiB"}},
	{"200 garbage", reply{200, pb, page, false}, notAck},
	{"204", reply{204, nil, nil, false}, notAck},
	{"202", reply{202, pb, nil, false}, notAck},
	{"304", reply{304, nil, nil, false}, notAck},

	{"400 firewall", reply{400, html, page, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 says nothing", reply{400, pb, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 cut off", reply{400, pb, statusBody(codes.InvalidArgument, "bad"), true}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 Status", reply{400, pb, statusBody(codes.InvalidArgument, "bad span id"), false}, want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "bad span id"}},
	{"400 Status as json", reply{400, map[string]string{"Content-Type": "application/json"}, []byte(`{"code":3}`), false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 too large", reply{400, pb, statusBody(codes.InvalidArgument, "http: request body too large"), false}, want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "http: request body too large"}},
	{"400 by reason", reply{400, pb, statusBody(codes.InvalidArgument, "no", &errdetails.ErrorInfo{Reason: "MESSAGE_TOO_LARGE", Domain: "lifeline"}), false}, want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"400 about a length in the data", reply{400, pb, statusBody(codes.InvalidArgument, "not valid: a length that is too large"), false}, want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "not valid: a length that is too large"}},
	{"400 headers too large, nginx", reply{400, html, []byte("Request Header Or Cookie Too Large"), false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"400 encoding", reply{400, pb, statusBody(codes.InvalidArgument, "unsupported Content-Encoding: zstd"), false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, message: "unsupported Content-Encoding: zstd", err: "check compression"}},
	{"401", reply{401, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseAuth}},
	{"403", reply{403, html, page, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseAuth}},
	{"404", reply{404, html, page, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, err: "http::endpoint"}},
	{"405", reply{405, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"407", reply{407, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseProxy}},
	{"408", reply{408, nil, nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseTimeout}},
	{"413", reply{413, html, page, false}, want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient}},
	{"415", reply{415, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, err: "check compression"}},
	{"418", reply{418, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"421", reply{421, pb, statusBody(codes.FailedPrecondition, "audience"), false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, message: "audience", err: "check audience"}},
	{"422 Status", reply{422, pb, statusBody(codes.InvalidArgument, "no"), false}, want{verdict: otlpsend.BadData, cause: otlpsend.CauseClient, message: "no"}},
	{"422 page", reply{422, html, page, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient}},
	{"429", reply{429, nil, nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled}},
	{"429 seconds", reply{429, retry("7"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 7 * time.Second}},
	{"429 date", reply{429, retry("Wed, 25 Nov 2026 06:31:09 GMT"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 9 * time.Second}},
	{"429 the past", reply{429, retry("Wed, 25 Nov 2020 06:31:09 GMT"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled}},
	{"429 a year", reply{429, retry("31536000"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: time.Hour}},
	{"429 for ever", reply{429, retry("9223372036854775807"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: time.Hour}},
	{"429 soon", reply{429, retry("soon"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled}},
	{"429 larger than max", reply{429, pb, statusBody(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), false}, want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "grpc: received message larger than max (5 vs. 4)"}},
	{"429 by reason", reply{429, pb, statusBody(codes.ResourceExhausted, "no", &errdetails.ErrorInfo{Reason: "MESSAGE_TOO_LARGE", Domain: "lifeline"}), false}, want{verdict: otlpsend.TooLarge, cause: otlpsend.CauseClient, message: "no"}},
	{"500", reply{500, html, page, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseServer}},
	{"501", reply{501, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseServer}},
	{"502", reply{502, html, page, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseServer}},
	{"503", reply{503, nil, nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseServer}},
	{"503 throttled", reply{503, retry("2"), nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseThrottled, after: 2 * time.Second}},
	{"504", reply{504, nil, nil, false}, want{verdict: otlpsend.Down, cause: otlpsend.CauseServer}},
	{"599", reply{599, nil, nil, false}, want{verdict: otlpsend.Broken, cause: otlpsend.CauseServer}},
}

func TestEveryAnswerOfTheTable(t *testing.T) {
	for _, test := range answers {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(test.reply)
			defer server.Close()
			answer := send(t, server.URL)
			got := want{answer.Verdict, answer.Cause, answer.RetryAfter, answer.Rejected, answer.Message, test.want.err}
			require.Equal(t, test.want, got, "error: %v", answer.Err)
			require.False(t, answer.Date.IsZero(), "every server told its time")
			if answer.Verdict == otlpsend.Delivered {
				require.NoError(t, answer.Err)
			} else {
				require.ErrorContains(t, answer.Err, test.want.err)
			}
		})
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
		server := httptest.NewServer(reply{code, map[string]string{"Location": elsewhere.URL + "/v1/logs"}, nil, false})
		defer server.Close()
		// A client that follows redirects, as every http.Client does by itself,
		// must lose that habit; the caller's own copy must keep it.
		client := freshClient(t)
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return nil }
		transport, err := otlpsend.NewHTTP(client, server.URL)
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
	server := httptest.NewServer(reply{
		400,
		map[string]string{"Content-Type": protobuf},
		statusBody(codes.InvalidArgument, strings.Repeat("é\n\x1b[31mno ", 200)), false,
	})
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
