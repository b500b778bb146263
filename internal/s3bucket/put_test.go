package s3bucket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// wire takes one request off a connection, byte by byte as it was sent, and
// answers that the object is stored.
func wire(t *testing.T) (endpoint string, sent func() (line string, head textproto.MIMEHeader, body []byte)) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var line string
	var head textproto.MIMEHeader
	var body []byte
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := textproto.NewReader(bufio.NewReader(conn))
		line, _ = r.ReadLine()
		head, _ = r.ReadMIMEHeader()
		n, _ := strconv.Atoi(head.Get("Content-Length"))
		body = make([]byte, n)
		_, _ = io.ReadFull(r.R, body) // a short body fails the test's comparison
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nETag: \"tag\"\r\nContent-Length: 0\r\n\r\n")
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return "http://" + l.Addr().String(), func() (string, textproto.MIMEHeader, []byte) { wg.Wait(); return line, head, body }
}

func names(h textproto.MIMEHeader) []string {
	var all []string
	for name := range h {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// TestPutIsAnonymous pins every header of a PUT: what is not here cannot tell
// one agent from another.
func TestPutIsAnonymous(t *testing.T) {
	required := []string{"Authorization", "Content-Length", "Host", "User-Agent", "X-Amz-Checksum-Sha256", "X-Amz-Content-Sha256", "X-Amz-Date"}
	for _, c := range []struct {
		name   string
		change func(*Config)
		opts   bucket.PutOptions
		body   string
		more   []string
	}{
		{"plain", func(*Config) {}, bucket.PutOptions{}, "flare", nil},
		{"once", func(*Config) {}, once, "flare", []string{"If-None-Match"}},
		{"match", func(*Config) {}, bucket.PutOptions{IfMatch: "tag"}, "flare", []string{"If-Match"}},
		{"empty", func(*Config) {}, once, "", []string{"If-None-Match"}},
		{"owner", func(c *Config) { c.ExpectedBucketOwner = "123456789012" }, once, "flare", []string{"If-None-Match", "X-Amz-Expected-Bucket-Owner"}},
		{"session", func(c *Config) { c.SessionToken = "token" }, once, "flare", []string{"If-None-Match", "X-Amz-Security-Token"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			endpoint, sent := wire(t)
			cfg := config(endpoint)
			c.change(&cfg)
			info, err := open(t, cfg).Put(t.Context(), "f/k", frame.Bytes(c.body), c.opts)
			require.NoError(t, err)
			require.Equal(t, bucket.Info{Key: "f/k", Size: int64(len(c.body)), ETag: "tag"}, info)

			line, head, body := sent()
			require.Equal(t, "PUT /flares/f/k HTTP/1.1", line)
			want := append(slices.Clone(required), c.more...)
			slices.Sort(want)
			require.Equal(t, want, names(head))
			require.Equal(t, c.body, string(body))
			require.Equal(t, "lifeline", head.Get("User-Agent"))
			sum := sha256.Sum256(body)
			require.Equal(t, hex.EncodeToString(sum[:]), head.Get("X-Amz-Content-Sha256"))
			require.Equal(t, base64.StdEncoding.EncodeToString(sum[:]), head.Get("X-Amz-Checksum-Sha256"))
			if c.opts.IfMatch != "" {
				require.Equal(t, `"tag"`, head.Get("If-Match"))
			}
			for _, name := range c.more { // a proxy cannot take a condition away
				require.Contains(t, head.Get("Authorization"), strings.ToLower(name))
			}
		})
	}
}

// guarded is a Body as the ring has them, readable in place, that knows whether
// somebody reads it and who does after its owner took it back.
type guarded struct {
	size    int64
	reading atomic.Int32
	over    atomic.Bool
	late    atomic.Int32
}

func (g *guarded) Len() int64 { return g.size }

func (g *guarded) ReadAt(p []byte, off int64) (int, error) {
	g.reading.Add(1)
	defer g.reading.Add(-1)
	if g.over.Load() {
		g.late.Add(1)
	}
	n := min(int64(len(p)), max(g.size-off, 0))
	for i := range p[:n] {
		p[i] = 'x'
	}
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

func (g *guarded) WriteTo(w io.Writer) (int64, error) {
	g.reading.Add(1)
	defer g.reading.Add(-1)
	page := bytes.Repeat([]byte{'x'}, 4096)
	for n := int64(0); n < g.size; n += 4096 {
		if _, err := w.Write(page[:min(4096, g.size-n)]); err != nil {
			return n, err
		}
	}
	return g.size, nil
}

func TestPutReadsTheBodyAndLetsGo(t *testing.T) {
	const size = 16<<20 + 1
	for _, c := range []struct {
		name   string
		handle func(w http.ResponseWriter, r *http.Request, cancel func(), over <-chan struct{})
		kinds  []bucket.Kind // nil: stored
	}{
		{"stored", func(w http.ResponseWriter, r *http.Request, _ func(), _ <-chan struct{}) {
			n, _ := io.Copy(io.Discard, r.Body)
			w.Header().Set("ETag", fmt.Sprint(n))
		}, nil},
		{"given up in the middle", func(_ http.ResponseWriter, r *http.Request, cancel func(), over <-chan struct{}) {
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			cancel()
			<-over
		}, []bucket.Kind{bucket.Unknown}},
		{"refused in the middle", func(w http.ResponseWriter, _ *http.Request, _ func(), _ <-chan struct{}) {
			refuse(w, http.StatusForbidden, "AccessDenied")
		}, []bucket.Kind{bucket.Denied, bucket.Unknown}}, // the answer may be lost with the connection
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			over := make(chan struct{})
			b := serve(t, func(w http.ResponseWriter, r *http.Request) { c.handle(w, r, cancel, over) })
			body := &guarded{size: size}
			info, err := b.Put(ctx, "f/k", body, once)
			body.over.Store(true)
			require.Zero(t, body.reading.Load(), "the ring may use the pages again")
			close(over)
			b.Close()
			require.Zero(t, body.late.Load())
			if c.kinds == nil {
				require.NoError(t, err)
				require.Equal(t, strconv.Itoa(size), info.ETag, "the whole body arrived")
				return
			}
			require.Contains(t, c.kinds, bucket.KindOf(err), "%v", err)
		})
	}
}

// keeper is a transport that gives up in the middle and keeps what it reads from.
type keeper struct{ body io.ReadCloser }

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	k.body = r.Body
	if n, err := r.Body.Read(make([]byte, 1)); n != 1 || err != nil {
		return nil, fmt.Errorf("%d bytes read: %w", n, err)
	}
	return nil, errors.New("given up")
}

func TestALateReaderOfAPutIsCutOff(t *testing.T) {
	b := open(t, config("http://192.0.2.1"))
	k := &keeper{}
	b.http.fixed.RegisterProtocol("http", k)
	body := &guarded{size: 1 << 20}
	_, err := b.Put(t.Context(), "f/k", body, once)
	require.ErrorContains(t, err, "given up")
	body.over.Store(true)
	n, err := k.body.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, frame.ErrLoanEnded)
	require.Zero(t, body.late.Load())
}

// short is a Body that breaks its promise, from the nth time on.
type short struct {
	good  int
	asked int
}

func (s *short) Len() int64 { return 5 }

func (s *short) WriteTo(w io.Writer) (int64, error) {
	text := "12345"
	if s.asked++; s.asked > s.good {
		text = "123"
	}
	n, err := io.WriteString(w, text)
	return int64(n), err
}

func TestPutNeverStoresHalfABody(t *testing.T) {
	var seen atomic.Int32
	b := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			seen.Add(1)
			return
		}
		w.Header().Set("ETag", "tag")
	})
	_, err := b.Put(t.Context(), "f/k", &short{}, once)
	requireError(t, err, bucket.Unreachable, "")
	require.Zero(t, seen.Load(), "found while hashing")
	_, err = b.Put(t.Context(), "f/k", &short{good: 1}, once)
	requireError(t, err, bucket.Unknown, "")
}

// S3 sends no body with a stored object. Servers that do have stored it too, if
// the body is no error.
func TestPutTakesAnAnswerWithABody(t *testing.T) {
	body := "<PutObjectResult/>"
	b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", "tag")
		fmt.Fprint(w, body)
	})
	require.NoError(t, put(t.Context(), b))
	body = "<Error><Code>InternalError</Code></Error>"
	requireError(t, put(t.Context(), b), bucket.Unknown, "InternalError")
	body = strings.Repeat("x", maxNote+1)
	requireError(t, put(t.Context(), b), bucket.Unknown, "")
}
