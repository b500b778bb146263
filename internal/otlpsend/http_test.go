package otlpsend_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWhatIsSent(t *testing.T) {
	type sent struct {
		method, path string
		length       int64
		header       http.Header
		body         []byte
	}
	seen := make(chan sent, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- sent{r.Method, r.URL.RequestURI(), r.ContentLength, r.Header, body}
		w.Header().Set("Content-Type", protobuf)
	}))
	defer server.Close()
	for _, test := range []struct {
		endpoint string
		signal   frame.Signal
		path     string
	}{
		{"", frame.Traces, "/v1/traces"},
		{"/", frame.Metrics, "/v1/metrics"},
		{"/team%2Fa/otlp", frame.Logs, "/team%2Fa/otlp/v1/logs"},
		{"/otlp/?key=1", frame.Profiles, "/otlp/v1development/profiles?key=1"},
	} {
		transport, err := overHTTP(freshClient(t), server.URL+test.endpoint)
		require.NoError(t, err)
		released := 0
		answer := transport.Send(t.Context(), &otlpsend.Request{
			Signal: test.signal,
			Body:   frame.Bytes("one zstd frame"),
			Header: map[string]string{frame.HeaderBatchID: "ours", frame.HeaderSize: "99"},
			Meta: map[string][]string{
				"x-tenant": {"a", "b"}, "lifeline-batch-id": {"forged"}, "content-type": {"text/plain"}, "content-encoding": {"gzip"},
			},
			Released: func() { released++ },
		})
		require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
		require.Equal(t, 1, released)
		got := <-seen
		require.Equal(t, http.MethodPost, got.method)
		require.Equal(t, test.path, got.path)
		require.EqualValues(t, 14, got.length, "a known length, not chunks")
		require.Equal(t, "one zstd frame", string(got.body))
		require.Equal(t, []string{protobuf}, got.header["Content-Type"])
		require.Equal(t, []string{"zstd"}, got.header["Content-Encoding"])
		require.Equal(t, []string{"ours"}, got.header["Lifeline-Batch-Id"])
		require.Equal(t, []string{"99"}, got.header["Lifeline-Size"])
		require.Equal(t, []string{"a", "b"}, got.header["X-Tenant"])
	}
}

func TestEndpointsThatAreNone(t *testing.T) {
	for _, endpoint := range []string{"", "gateway:4318", "gateway.example.com", "ftp://gateway", "https://", "http://[::1", "/v1/traces"} {
		_, err := overHTTP(http.DefaultClient, endpoint)
		require.Error(t, err, endpoint)
	}
}

// paged is a Body as the ring has them: readable at an offset, and owned by
// somebody else after its release.
type paged struct {
	mu       sync.Mutex
	data     []byte
	released bool
	late     atomic.Int32 // reads after the release
}

func (p *paged) Len() int64 { return int64(len(p.data)) }

func (p *paged) WriteTo(io.Writer) (int64, error) { return 0, errors.New("read me in place") }

func (p *paged) ReadAt(b []byte, off int64) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		p.late.Add(1)
	}
	return bytes.NewReader(p.data).ReadAt(b, off)
}

func (p *paged) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = true
}

// net/http reads a request's body in a goroutine of its own, which can outlive
// Do: a server that answers early, or a cancelled attempt, leaves it running.
func TestNobodyReadsABodyThatWasReleased(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run("http2="+strconv.FormatBool(http2), func(t *testing.T) {
			begun, over := make(chan struct{}, 1), make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = r.Body.Read(make([]byte, 1))
				begun <- struct{}{}
				if r.URL.Path == "/v1/traces" {
					w.WriteHeader(http.StatusServiceUnavailable) // early: most of the body is unread
					return
				}
				<-over
			}))
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			defer close(over)
			transport, err := overHTTP(server.Client(), server.URL)
			require.NoError(t, err)
			for _, signal := range []frame.Signal{frame.Traces, frame.Logs} {
				body := &paged{data: make([]byte, 8<<20)}
				releases := 0
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					<-begun
					if signal == frame.Logs {
						cancel()
					}
				})
				answer := transport.Send(ctx, &otlpsend.Request{Signal: signal, Body: body, Released: func() { releases++; body.release() }})
				wg.Wait()
				cancel()
				require.Equal(t, otlpsend.Down, answer.Verdict, "error: %v", answer.Err)
				require.Equal(t, 1, releases)
				require.Zero(t, body.late.Load())
			}
		})
	}
}

// keeper is a transport that gives up in the middle and keeps what it reads from.
type keeper struct {
	body    io.ReadCloser
	getBody func() (io.ReadCloser, error)
}

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	k.body, k.getBody = r.Body, r.GetBody
	if n, err := r.Body.Read(make([]byte, 1)); n != 1 || err != nil {
		return nil, fmt.Errorf("%d bytes read: %w", n, err)
	}
	return nil, errors.New("given up")
}

func TestALateReaderOfAFrameIsCutOff(t *testing.T) {
	k := &keeper{}
	transport, err := overHTTP(&http.Client{Transport: k}, "http://192.0.2.1")
	require.NoError(t, err)
	body := &paged{data: make([]byte, 1<<20)}
	answer := transport.Send(t.Context(), &otlpsend.Request{Body: body, Released: body.release})
	require.ErrorContains(t, answer.Err, "given up")
	again, err := k.getBody()
	require.NoError(t, err)
	for _, late := range []io.Reader{k.body, again} {
		n, err := late.Read(make([]byte, 1))
		require.Zero(t, n)
		require.ErrorIs(t, err, frame.ErrLoanEnded)
	}
	require.Zero(t, body.late.Load())
}

func TestABodyThatCanOnlyBeWritten(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "written" {
			w.Header().Set("Content-Type", protobuf)
		}
	}))
	defer server.Close()
	transport, err := overHTTP(freshClient(t), server.URL)
	require.NoError(t, err)
	answer := transport.Send(t.Context(), &otlpsend.Request{Body: written{}})
	require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
}

type written struct{}

func (written) Len() int64 { return 7 }
func (written) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, "written")
	return int64(n), err
}

// A dead HTTP/2 connection is used again and again by net/http unless it is told
// not to: after two failures in a row the next attempt needs a new one.
func TestADeadHTTP2ConnectionIsLeft(t *testing.T) {
	var conns atomic.Int32
	asked := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if conns.Load() == 1 {
			asked <- struct{}{}
			<-r.Context().Done()
			return
		}
		w.Header().Set("Content-Type", protobuf)
	}))
	server.EnableHTTP2 = true
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.StartTLS()
	defer server.Close()
	transport, err := otlpsend.NewHTTP(server.URL, fresh(server.Client().Transport.(*http.Transport)), otlpsend.Options{})
	require.NoError(t, err)
	defer transport.Close()
	attempt := func() otlpsend.Answer {
		ctx := nettest.NewDeadline(t.Context())
		var waiting sync.WaitGroup
		defer waiting.Wait()
		waiting.Go(func() { <-asked; ctx.Pass() })
		return transport.Send(ctx, &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes("x")})
	}
	for range 2 {
		answer := attempt()
		require.Equal(t, otlpsend.CauseTimeout, answer.Cause, "error: %v", answer.Err)
	}
	answer := transport.Send(t.Context(), &otlpsend.Request{Signal: frame.Logs, Body: frame.Bytes("x")})
	require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
	require.EqualValues(t, 2, conns.Load())
}
