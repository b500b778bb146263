package recovery

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// moment is when a tap holds a call: before the far side saw it, or when it has
// done it and the answer is under way.
type moment string

const (
	before moment = "before"
	after  moment = "after"
)

// call is one call of recovery's. Its name says what kind of call it is.
type call struct {
	name, key string // of forward: the batch id
	flare     string // id, "" if it is about no flare
}

// tap stands between recovery and its bucket and in front of the gateway. It
// writes down what had an effect, and can hold one call for good: neither the
// call (before) nor its answer (after) ever arrives.
type tap struct {
	bucket string
	s3     *httptest.Server
	proxy  *httputil.ReverseProxy
	bytes  atomic.Int64 // of flares, fetched or on their way
	mu     sync.Mutex
	// mu guards the following.
	spoil  spoil          // nil: none
	done   []call         // had their effect, in order
	counts map[string]int // calls that came, by name
	conns  int            // to s3, open
	more   chan struct{}  // closed and replaced at every effect, and when a connection ends
	trap   *trap          // nil: none
}

// spoil may answer a call to the bucket itself, and tells so.
type spoil func(w http.ResponseWriter, r *http.Request, c call) bool

// trap holds the n-th call that matches, counted from when it was set.
type trap struct {
	match    func(c call) bool
	n        int
	when     moment
	caught   chan struct{}   // closed when the call is held
	released chan struct{}   // closed by the test: the connection is cut
	end      context.Context // of the test
}

func newTap(t *testing.T, bucket, upstream string) *tap {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections) // the store waits for connections when it stops
	tp := &tap{bucket: bucket, counts: map[string]int{}, more: make(chan struct{})}
	tp.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: upstream})
			r.Out.Host = r.In.Host // signed
		},
		Transport:    transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	tp.s3 = httptest.NewUnstartedServer(http.HandlerFunc(tp.serveS3))
	tp.s3.Config.ConnState = tp.connected
	tp.s3.Start()
	t.Cleanup(tp.s3.Close)
	return tp
}

func (tp *tap) serveS3(w http.ResponseWriter, r *http.Request) {
	c := tp.callOf(r)
	tp.mu.Lock()
	spoil := tp.spoil
	tp.mu.Unlock()
	if spoil != nil && spoil(w, r, c) {
		return
	}
	tp.pass(w, c, func(w http.ResponseWriter) { //nolint:contextcheck // the request carries its own
		// What has begun comes to an end, also when the process dies meanwhile.
		tp.proxy.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
	})
}

// pass makes a call, unless the trap holds it. do answers to the writer it gets:
// an answer with a good status says that the call had its effect.
func (tp *tap) pass(w http.ResponseWriter, c call, do func(http.ResponseWriter)) {
	held := tp.come(c)
	if held != nil && held.when == before {
		held.hold()
	}
	if held != nil {
		w = discard{http.Header{}}
	}
	do(&noting{w, tp, c})
	if held != nil {
		held.hold()
	}
}

// hold keeps a call until the test has killed who made it.
func (t *trap) hold() {
	close(t.caught)
	select {
	case <-t.released:
	case <-t.end.Done():
	}
	panic(http.ErrAbortHandler)
}

// come counts a call and returns the trap if it is the one.
func (tp *tap) come(c call) *trap {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.counts[c.name]++
	if tp.trap == nil || !tp.trap.match(c) {
		return nil
	}
	if tp.trap.n--; tp.trap.n != 0 {
		return nil
	}
	return tp.trap
}

// note writes down that a call had its effect.
func (tp *tap) note(c call) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.done = append(tp.done, c)
	close(tp.more)
	tp.more = make(chan struct{})
}

// connected counts the connections to the bucket.
func (tp *tap) connected(_ net.Conn, state http.ConnState) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	switch state {
	case http.StateNew:
		tp.conns++
	case http.StateClosed:
		tp.conns--
		close(tp.more)
		tp.more = make(chan struct{})
	}
}

// deserted waits until every call of a process that is dead has come to its end,
// and returns all effects so far.
func (tp *tap) deserted(ctx context.Context, t *testing.T) (all []call) {
	t.Helper()
	tp.await(ctx, t, func([]call) bool {
		tp.mu.Lock()
		defer tp.mu.Unlock()
		all = slices.Clip(tp.done)
		return tp.conns == 0
	})
	return all
}

// spoilCalls lets f answer from now on.
func (tp *tap) spoilCalls(f spoil) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.spoil = f
}

// set replaces the trap.
func (tp *tap) set(t *trap) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	tp.trap = t
}

// calls returns how many calls of each name came so far.
func (tp *tap) calls() map[string]int {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return maps.Clone(tp.counts)
}

// effects returns what had an effect so far, and a channel that is closed at the
// next effect.
func (tp *tap) effects() ([]call, <-chan struct{}) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return slices.Clip(tp.done), tp.more
}

// await blocks until ok, which is asked again after every effect.
func (tp *tap) await(ctx context.Context, t *testing.T, ok func([]call) bool) {
	t.Helper()
	for {
		done, more := tp.effects()
		if ok(done) {
			return
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("it never came so far; the last of %d calls: %v", len(done), done[max(0, len(done)-10):])
		}
	}
}

// callOf names a request to the bucket by what recovery wants with it.
func (tp *tap) callOf(r *http.Request) call {
	key := strings.TrimPrefix(r.URL.Path, "/"+tp.bucket+"/")
	op := map[string]string{http.MethodGet: "get", http.MethodPut: "put", http.MethodDelete: "delete"}[r.Method]
	if src, err := url.PathUnescape(r.Header.Get("X-Amz-Copy-Source")); src != "" && err == nil {
		op, key = "copy", strings.TrimPrefix(src, "/"+tp.bucket+"/")
	}
	if r.URL.Query().Has("list-type") {
		return call{name: "list " + kindOf(r.URL.Query().Get("prefix")), key: r.URL.Query().Get("prefix")}
	}
	c := call{name: op + " " + kindOf(key), key: key}
	if !strings.Contains(key, "probe") {
		_, file, _ := strings.Cut(strings.TrimPrefix(key, "lifeline/"), "/")
		c.flare, _, _ = strings.Cut(file, ".")
	}
	return c
}

// kindOf says which part of the bucket a key lies in.
func kindOf(key string) string {
	kind, rest, _ := strings.Cut(strings.TrimPrefix(key, "lifeline/"), "/")
	if kind == "f" {
		kind = "flare"
	}
	switch {
	case strings.HasPrefix(rest, "probe"):
		return kind + " probe"
	case kind == "lease" && frame.IsHex32(rest):
		return "presence"
	case kind == "try" && strings.Contains(rest, ".s"):
		return "split try"
	default:
		return kind
	}
}

// noting is a ResponseWriter that notes a good answer before it is on its way, and
// counts the bytes of flares.
type noting struct {
	http.ResponseWriter
	tap *tap
	c   call
}

func (w *noting) WriteHeader(status int) {
	if status/100 == 2 {
		w.tap.note(w.c)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *noting) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if w.c.name == "get flare" {
		w.tap.bytes.Add(int64(n))
	}
	return n, err
}

// Unwrap lets the proxy flush.
func (w *noting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// discard is a ResponseWriter for an answer that never arrives.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// bodyOf reads a request to its end.
func bodyOf(r *http.Request) ([]byte, error) {
	var buf bytes.Buffer
	_, err := io.Copy(&buf, r.Body)
	return buf.Bytes(), err
}
