package s3

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Fault is what a Guard does to a request instead of passing it on in peace.
type Fault int

// The faults.
const (
	Drop      Fault = iota // close the connection; the server never saw the request
	LostAck                // the server does it, then the connection is closed without an answer
	SlowDown               // answer 503 SlowDown; the server never saw the request
	Blackhole              // take the request and answer nothing until the client or the Guard leaves
)

// Guard is a proxy in front of a Server. It enforces what only AWS enforces
// (deploy/policies/aws-only.json: a flare is put only with If-None-Match, and so
// never in parts) and injects faults. It leaves Host alone, so that signatures stay valid. Its
// methods may be called concurrently.
type Guard struct {
	addr   string
	proxy  *httputil.ReverseProxy
	server *http.Server
	closed chan struct{}
	wg     sync.WaitGroup

	mu sync.Mutex
	// mu guards the following.
	fault  Fault
	method string
	left   int
	struck int
	met    chan struct{} // closed when struck is more than 0
}

// StartGuard starts a Guard on addr ("" for a free port of 127.0.0.1) in front
// of the server at upstream, a host:port. It runs until Close.
func StartGuard(ctx context.Context, addr, upstream string) (*Guard, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	g := &Guard{addr: l.Addr().String(), closed: make(chan struct{}), met: make(chan struct{})}
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: upstream})
			r.Out.Host = r.In.Host
		},
		Transport:    &http.Transport{DisableCompression: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: 10 * time.Second}
	g.wg.Go(func() { _ = g.server.Serve(l) }) // ends with Close
	return g, nil
}

// Addr returns host:port of the Guard.
func (g *Guard) Addr() string { return g.addr }

// Endpoint returns the URL of the Guard.
func (g *Guard) Endpoint() string { return "http://" + g.addr }

// Close ends the Guard and all its connections.
func (g *Guard) Close() error {
	close(g.closed)
	err := g.server.Close()
	g.wg.Wait()
	return err
}

// Inject lets the next n requests of method ("" for any) meet fault; a negative
// n lasts until the next Inject. It replaces what was injected before, and sets
// the count of Struck to 0.
func (g *Guard) Inject(fault Fault, method string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fault, g.method, g.left, g.struck, g.met = fault, method, n, 0, make(chan struct{})
}

// Met returns a channel that is closed when a request has met the fault that was
// injected last.
func (g *Guard) Met() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.met
}

// Struck returns how many requests have met the fault since Inject.
func (g *Guard) Struck() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.struck
}

// next returns the fault that a request of method meets, if any.
func (g *Guard) next(method string) (Fault, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.left == 0 || (g.method != "" && g.method != method) {
		return 0, false
	}
	g.left--
	if g.struck++; g.struck == 1 {
		close(g.met)
	}
	return g.fault, true
}

// ServeHTTP implements http.Handler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, struck := g.next(r.Method)
	switch {
	case struck && fault == Drop:
		panic(http.ErrAbortHandler)
	case struck && fault == Blackhole:
		_, _ = io.Copy(io.Discard, r.Body) // the client may leave
		select {
		case <-r.Context().Done():
		case <-g.closed:
		}
		panic(http.ErrAbortHandler)
	case struck && fault == SlowDown:
		refuse(w, r, http.StatusServiceUnavailable, "SlowDown")
	case replaces(r):
		refuse(w, r, http.StatusForbidden, "AccessDenied")
	case struck: // LostAck
		g.proxy.ServeHTTP(discard{http.Header{}}, r)
		panic(http.ErrAbortHandler)
	default:
		g.proxy.ServeHTTP(w, r)
	}
}

// replaces reports whether AWS would refuse r for its missing If-None-Match. An
// upload in parts needs the right to put as well, and cannot begin with one.
func replaces(r *http.Request) bool {
	if r.Header.Get("If-None-Match") != "" || !strings.HasPrefix(r.URL.Path, "/"+Bucket+"/"+Prefix) {
		return false
	}
	q := r.URL.Query()
	switch r.Method {
	case http.MethodPut:
		return !q.Has("acl") && !q.Has("tagging") && !q.Has("retention") && !q.Has("legal-hold") // rights of their own
	case http.MethodPost:
		return q.Has("uploads") || q.Has("uploadId")
	}
	return false
}

// refuse answers as S3 does, after the body: an answer in the middle of it would
// be lost with the connection.
func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body) // the client may leave
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>the guard</Message></Error>`, code)
}

// discard is a ResponseWriter for an answer that is lost.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
