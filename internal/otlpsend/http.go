package otlpsend

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// HTTP sends over OTLP/HTTP. It is safe for concurrent use.
type HTTP struct {
	endOf
	opts  Options
	urls  [frame.NumSignals]string
	lines lines[*HTTPConn]
}

var _ Client = (*HTTP)(nil)

// HTTPConn is an HTTP client with connections of its own. Close closes those
// that are not in use; it may be nil.
type HTTPConn struct {
	Client *http.Client
	Close  func()
}

// NewHTTP returns a transport that posts to endpoint, a base URL with scheme and
// host to which the path of each signal is appended. connect is called at once,
// and again for fresh connections. Its client is copied and told never to follow
// a redirect: a redirected POST either loses its body or hands telemetry to a
// stranger. What the client compresses by itself must be switched off.
func NewHTTP(endpoint string, connect func() (*HTTPConn, error), o Options) (*HTTP, error) {
	base, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("parse endpoint: %w", err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("endpoint %q is not a base URL: write it as https://host:port", base.Redacted())
	}
	h := &HTTP{opts: o}
	for s := range frame.Signal(frame.NumSignals) {
		h.urls[s] = base.JoinPath(s.HTTPPath()).String()
	}
	h.lines.open = func() (*HTTPConn, error) {
		made, err := connect()
		if err != nil {
			return nil, err
		}
		client := *made.Client
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		return &HTTPConn{Client: &client, Close: made.Close}, nil
	}
	h.lines.close = func(c *HTTPConn) {
		if c.Close != nil {
			c.Close()
		}
	}
	h.lines.leave = o.Leave
	if err := h.lines.first(); err != nil {
		return nil, err
	}
	return h, nil
}

// Close implements Client.
func (h *HTTP) Close() { h.lines.shut() }

// Send implements Transport. The attempt ends when ctx does. Nothing reads
// r.Body once Send has returned: net/http may hold its readers longer, but the
// loan has ended by then.
func (h *HTTP) Send(ctx context.Context, r *Request) Answer {
	verify, err := h.opts.verifier(r)
	if err != nil {
		return released(r, noKeys(err))
	}
	loan := frame.Lend(r.Body)
	answer := attempt(ctx, &h.lines, func(c *HTTPConn) Answer { return h.send(ctx, c, r, &sending{loan: loan, verify: verify}) })
	loan.End()
	return released(r, answer)
}

func (h *HTTP) send(ctx context.Context, c *HTTPConn, r *Request, s *sending) Answer {
	trace := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeDone: h.saw})
	body := func() (io.ReadCloser, error) { return encode(s.loan, h.opts.Compression), nil }
	first, _ := body()
	req, err := http.NewRequestWithContext(trace, http.MethodPost, h.urls[r.Signal], first)
	if err != nil {
		return Answer{Verdict: Broken, Cause: CauseClient, Err: fmt.Errorf("make request: %w", err)}
	}
	req.ContentLength = encodedSize(s.loan, r.RawSize, h.opts.Compression)
	// HTTP/2 sends the body again by itself when a server refused the stream
	// before it looked at it.
	req.GetBody = body
	h.setHeaders(req.Header, r)

	resp, err := c.Client.Do(req)
	if err != nil {
		return NetworkAnswer(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	content, err := readAnswer(resp.Body)
	if ctx.Err() != nil {
		return NetworkAnswer(ctx, context.Cause(ctx))
	}
	return Classify(Response{
		Signal: r.Signal, Status: resp.StatusCode, Header: resp.Header,
		Body: content, BodyErr: err, Now: time.Now(), Verify: s.verify,
	})
}

// setHeaders puts the metadata first, so that no client can overwrite what
// Lifeline says about the frame.
func (h *HTTP) setHeaders(header http.Header, r *Request) {
	for key, values := range r.Meta {
		for _, value := range values {
			header.Add(key, value)
		}
	}
	for key, value := range r.Header {
		header.Set(key, value)
	}
	header.Set("Content-Type", protobufType)
	if h.opts.Compression == None {
		header.Del("Content-Encoding")
		return
	}
	header.Set("Content-Encoding", string(cmp.Or(h.opts.Compression, Zstd)))
}

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
