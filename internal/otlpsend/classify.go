package otlpsend

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// protobufType is the only Content-Type we send, hence the only one of an ack:
// {"status":"ok"} would decode as an OTLP/JSON answer.
const protobufType = "application/x-protobuf"

// maxRetryAfter bounds what a server may ask for; the caller has a lower bound
// of its own. A broken clock must not silence an agent for a year.
const maxRetryAfter = time.Hour

// Response is an HTTP answer as Classify needs it.
type Response struct {
	Signal  frame.Signal
	Status  int
	Header  http.Header
	Body    []byte // at most 64 KiB
	BodyErr error  // the body was cut off or too long; Body is then empty
	Now     time.Time
	Verify  func(receipt string) error // nil: no receipt is demanded
}

// Classify says what an HTTP answer means. It is a pure function.
func Classify(r Response) Answer {
	var a Answer
	switch {
	case r.Status == http.StatusOK:
		a = classifyOK(r)
	case r.Status < 400:
		a = notAnAck(statusError(r, "not an OTLP answer; redirects are never followed"))
	default:
		a = classifyRefusal(r)
	}
	a.Date, _ = http.ParseTime(r.Header.Get("Date"))
	return a
}

// classifyOK demands of a 200 that it is an OTLP server's.
func classifyOK(r Response) Answer {
	if r.BodyErr != nil {
		return notAnAck(statusError(r, r.BodyErr.Error()))
	}
	if !isProtobuf(r.Header) {
		return notAnAck(statusError(r, fmt.Sprintf("Content-Type %q is not %s: this is no OTLP server", oneLine(r.Header.Get("Content-Type")), protobufType)))
	}
	a := judgeAck(r.Signal, r.Body, r.Header.Get(receipt.Header), r.Verify)
	a.Window = window(r.Header.Get(frame.HeaderWindow))
	if a.Err != nil {
		a.Err = statusError(r, a.Err.Error())
	}
	return a
}

// row is the meaning of an HTTP status. What no row names is Broken: the path
// answers, but nothing says that the data is to blame.
type row struct {
	verdict Verdict
	cause   Cause
	hint    string
}

var rows = map[int]row{
	http.StatusRequestTimeout:        {Down, CauseTimeout, ""},
	http.StatusTooManyRequests:       {Down, CauseThrottled, ""},
	http.StatusBadGateway:            {Down, CauseServer, ""},
	http.StatusServiceUnavailable:    {Down, CauseServer, ""},
	http.StatusGatewayTimeout:        {Down, CauseServer, ""},
	http.StatusUnauthorized:          {Broken, CauseAuth, "check the credentials in http::auth or http::headers"},
	http.StatusForbidden:             {Broken, CauseAuth, "check the credentials in http::auth or http::headers"},
	http.StatusProxyAuthRequired:     {Broken, CauseProxy, "check http::proxy_url"},
	http.StatusNotFound:              {Broken, CauseClient, "check the path in http::endpoint"},
	http.StatusMethodNotAllowed:      {Broken, CauseClient, "check http::endpoint: this is no OTLP server"},
	http.StatusUnsupportedMediaType:  {Broken, CauseClient, hintCompression},
	http.StatusMisdirectedRequest:    {Broken, CauseClient, "check audience: the gateway takes data for another one"},
	http.StatusRequestEntityTooLarge: {TooLarge, CauseClient, ""},
}

const hintCompression = "the server does not take what is sent: check compression"

// classifyRefusal judges everything from 400 up.
func classifyRefusal(r Response) Answer {
	meaning := statusRow(r.Status)
	a := Answer{Verdict: meaning.verdict, Cause: meaning.cause, RetryAfter: retryAfter(r)}
	hint := meaning.hint
	if status, ok := decodeStatus(r); ok {
		a.Message = oneLine(status.message)
		a.RetryAfter = max(a.RetryAfter, status.retryAfter)
		switch r.Status {
		case http.StatusBadRequest, http.StatusUnprocessableEntity:
			a.Verdict, hint = judgeBadRequest(status)
		case http.StatusTooManyRequests:
			if status.tooLarge() {
				a.Verdict, a.Cause = TooLarge, CauseClient
			}
		}
	}
	if a.RetryAfter > 0 && r.Status == http.StatusServiceUnavailable {
		a.Cause = CauseThrottled
	}
	a.Err = statusError(r, hint)
	if a.Message != "" {
		a.Err = fmt.Errorf("%w: %s", a.Err, a.Message)
	}
	return a
}

// statusRow returns the meaning of a status from 400 up.
func statusRow(code int) row {
	switch meaning, named := rows[code]; {
	case named:
		return meaning
	case code >= http.StatusInternalServerError:
		return row{Broken, CauseServer, ""}
	}
	return row{Broken, CauseClient, ""}
}

// judgeBadRequest reads the Status of a 400 or 422. Only an OTLP server sends
// one, so it is believed where a firewall's page is not; but stock receivers
// say 400 also when the body is too long or the encoding foreign to them.
func judgeBadRequest(s otlpStatus) (Verdict, string) {
	switch {
	case s.tooLarge():
		return TooLarge, ""
	case s.unsupportedEncoding():
		return Broken, hintCompression
	default:
		return BadData, ""
	}
}

func statusError(r Response, detail string) error {
	text := strconv.Itoa(r.Status)
	if name := http.StatusText(r.Status); name != "" {
		text += " " + name
	}
	if detail == "" {
		return errors.New("gateway answered " + text)
	}
	return fmt.Errorf("gateway answered %s: %s", text, detail)
}

func isProtobuf(h http.Header) bool {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return media == protobufType && (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter))
}

// retryAfter reads Retry-After in seconds or as a date; a date is compared with
// the clock of the server that wrote it, if it told that too.
func retryAfter(r Response) time.Duration {
	text := strings.TrimSpace(r.Header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now := r.Now
	if date, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
