package otlpsend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// maxAnswer is the most bytes of an answer's body that are looked at. An OTLP
// answer is a few bytes; whoever sends more is no OTLP server.
const maxAnswer = 64 << 10

// HTTP sends over OTLP/HTTP. It is safe for concurrent use.
type HTTP struct {
	client   http.Client
	urls     [frame.NumSignals]string
	failures atomic.Int32 // attempts in a row that got no answer at all
	notAfter atomic.Int64 // Unix time; 0: not known
}

var _ Transport = (*HTTP)(nil)

// NewHTTP returns a transport that posts to endpoint, a base URL with scheme and
// host to which the path of each signal is appended. The client is copied and
// told never to follow a redirect: a redirected POST either loses its body or
// hands telemetry to a stranger. What the client compresses by itself is not
// used, because the request carries its own Content-Encoding.
func NewHTTP(client *http.Client, endpoint string) (*HTTP, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("endpoint %q is not a base URL: write it as https://host:port", base.Redacted())
	}
	h := &HTTP{client: *client}
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for s := range frame.Signal(frame.NumSignals) {
		h.urls[s] = base.JoinPath(s.HTTPPath()).String()
	}
	return h, nil
}

// Send implements Transport. The attempt ends when ctx does. Nothing reads
// r.Body once Send has returned, because Send cuts off the readers that net/http
// may still hold.
func (h *HTTP) Send(ctx context.Context, r *Request) Answer {
	loan := frame.Lend(r.Body)
	answer := h.send(ctx, r, loan)
	loan.End()
	if r.Released != nil {
		r.Released()
	}
	return answer
}

func (h *HTTP) send(ctx context.Context, r *Request, body *frame.Loan) Answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.urls[r.Signal], body.Reader())
	if err != nil {
		return Answer{Verdict: Broken, Cause: CauseClient, Err: fmt.Errorf("make request: %w", err)}
	}
	req.ContentLength = body.Len()
	// HTTP/2 sends the body again by itself when a server refused the stream
	// before it looked at it.
	req.GetBody = func() (io.ReadCloser, error) { return body.Reader(), nil }
	setHeaders(req.Header, r)
	// A dead HTTP/2 connection is chosen again and again until somebody says that
	// it must not be used any more. HTTP/1 drops a failed one by itself.
	req.Close = h.failures.Load() > 0

	resp, err := h.client.Do(req)
	if err != nil {
		h.failures.Add(1)
		return NetworkAnswer(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		h.notAfter.Store(resp.TLS.PeerCertificates[0].NotAfter.Unix())
	}
	content, err := readAnswer(resp.Body)
	if ctx.Err() != nil {
		h.failures.Add(1)
		return NetworkAnswer(ctx, context.Cause(ctx))
	}
	h.failures.Store(0)
	return Classify(Response{
		Signal: r.Signal, Status: resp.StatusCode, Header: resp.Header,
		Body: content, BodyErr: err, Now: time.Now(),
	})
}

// NotAfter returns when the server's certificate ends, as of its last answer;
// the zero time before the first, or without TLS.
func (h *HTTP) NotAfter() time.Time {
	if at := h.notAfter.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// setHeaders puts the metadata first, so that no client can overwrite what
// Lifeline says about the frame.
func setHeaders(header http.Header, r *Request) {
	for key, values := range r.Meta {
		for _, value := range values {
			header.Add(key, value)
		}
	}
	for key, value := range r.Header {
		header.Set(key, value)
	}
	header.Set("Content-Type", protobufType)
	header.Set("Content-Encoding", "zstd")
}

var errLongAnswer = errors.New("the answer is longer than 64 KiB")

func readAnswer(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(content) > maxAnswer {
		return nil, errLongAnswer
	}
	return content, nil
}
