package s3bucket

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/nettest"
)

// TestNoConnection: nothing was sent, so the next bucket may be tried at once.
func TestNoConnection(t *testing.T) {
	var reached atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer plain.Close()
	secure := httptest.NewTLSServer(plain.Config.Handler)
	defer secure.Close()
	secure.Config.ErrorLog = nil
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusProxyAuthRequired) }))
	defer proxy.Close()
	gone := "http://" + nettest.Reserve(t)
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"refused", func(c *Config) { c.Endpoint = gone }, "refused"},
		{"no TLS", func(c *Config) { c.Endpoint = strings.Replace(plain.URL, "http:", "https:", 1) }, "TLS handshake"},
		{"unknown authority", func(c *Config) { c.Endpoint = secure.URL }, "certificate"},
		{"proxy refused", func(c *Config) { c.ProxyURL = gone }, "refused"},
		{"proxy refuses", func(c *Config) { c.ProxyURL, c.Endpoint = proxy.URL, "https://192.0.2.1" }, "Proxy Authentication Required"},
		{"no ca_file", func(c *Config) { c.CAFile = "/nonexistent/ca.pem" }, "ca_file: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config("http://192.0.2.1")
			c.change(&cfg)
			err := put(t.Context(), open(t, cfg))
			requireError(t, err, bucket.Unreachable, "")
			require.ErrorContains(t, err, c.want)
		})
	}
	require.Zero(t, reached.Load())
}

// abort closes the connection with a reset, so that no answer is read.
func abort(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the client has left already
	}
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

// strike answers a PUT in a bad way, or lets its caller give up.
type strike func(w http.ResponseWriter, cancel context.CancelFunc)

// refusal refuses as S3 does.
func refusal(status int, code string) strike {
	return func(w http.ResponseWriter, _ context.CancelFunc) { refuse(w, status, code) }
}

// page answers as somebody else on the way does.
func page(status int) strike {
	return func(w http.ResponseWriter, _ context.CancelFunc) {
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		fmt.Fprint(w, "<html><title>Please log in</title></html>")
	}
}

var putFaults = []struct {
	name  string
	fault strike
	kind  bucket.Kind
	code  string
}{
	{"reset", func(w http.ResponseWriter, _ context.CancelFunc) { abort(w) }, bucket.Unknown, ""},
	{"end of the context", func(_ http.ResponseWriter, cancel context.CancelFunc) { cancel() }, bucket.Unknown, ""},
	{"half a head", func(w http.ResponseWriter, _ context.CancelFunc) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nETag: ")
		_ = conn.Close()
	}, bucket.Unknown, ""},
	{"200 without an ETag", func(http.ResponseWriter, context.CancelFunc) {}, bucket.Unknown, ""},
	{"200 for other bytes", func(w http.ResponseWriter, _ context.CancelFunc) {
		w.Header().Set("ETag", "tag")
		w.Header().Set("X-Amz-Checksum-Sha256", "b3RoZXI=")
	}, bucket.Unknown, ""},
	{"204", func(w http.ResponseWriter, _ context.CancelFunc) {
		w.Header().Set("ETag", "tag")
		w.WriteHeader(http.StatusNoContent)
	}, bucket.Unknown, ""},
	{"a stranger's 200", page(200), bucket.Unknown, ""},
	{"a stranger's redirect", page(302), bucket.Unknown, ""},
	{"a stranger's 307", page(307), bucket.Unknown, ""},
	{"a firewall's 403", page(403), bucket.Unknown, ""},
	{"a firewall's 404", page(404), bucket.Unknown, ""},
	{"a firewall's 412", page(412), bucket.Unknown, ""},
	{"a proxy's 502", page(502), bucket.Unknown, ""},
	{"a proxy's 503", page(503), bucket.Unknown, ""},
	{"401", refusal(401, "Unauthorized"), bucket.Denied, "Unauthorized"},
	{"403", refusal(403, "AccessDenied"), bucket.Denied, "AccessDenied"},
	{"expired", refusal(400, "ExpiredToken"), bucket.Denied, "ExpiredToken"},
	{"404", refusal(404, "NoSuchBucket"), bucket.NotFound, "NoSuchBucket"},
	{"412", refusal(412, "PreconditionFailed"), bucket.Exists, "PreconditionFailed"},
	{"408", refusal(408, "RequestTimeout"), bucket.Unknown, "RequestTimeout"},
	{"400 timeout", refusal(400, "RequestTimeout"), bucket.Unknown, "RequestTimeout"},
	{"409", refusal(409, "ConditionalRequestConflict"), bucket.Unknown, "ConditionalRequestConflict"},
	{"429", refusal(429, "TooManyRequests"), bucket.Throttled, "TooManyRequests"},
	{"400", refusal(400, "BadDigest"), bucket.Refused, "BadDigest"},
	{"301", refusal(301, "PermanentRedirect"), bucket.Refused, "PermanentRedirect"},
	{"500", refusal(500, "InternalError"), bucket.Unknown, "InternalError"},
	{"501", refusal(501, "NotImplemented"), bucket.Unknown, "NotImplemented"},
	{"503", refusal(503, "ServiceUnavailable"), bucket.Unknown, "ServiceUnavailable"},
	{"503 SlowDown", refusal(503, "SlowDown"), bucket.Throttled, "SlowDown"},
}

// TestPutFaults injects every fault before and after the store took the object.
func TestPutFaults(t *testing.T) {
	for _, c := range putFaults {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stored %v", c.name, effect), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var calls, stored atomic.Int32
				b := serve(t, func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					body, err := io.ReadAll(r.Body)
					if effect && err == nil && string(body) == "flare" {
						stored.Add(1)
					}
					c.fault(w, cancel)
					if ctx.Err() != nil { // an answer now would race with the end of the context
						abort(w)
					}
				})
				err := put(ctx, b)
				requireError(t, err, c.kind, c.code)
				require.ErrorContains(t, err, "put f/k: ")
				require.EqualValues(t, 1, calls.Load(), "one call is one attempt")
				require.Equal(t, effect, stored.Load() == 1)
			})
		}
	}
}

func TestContextErrorIsTheCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	over := make(chan struct{})
	b := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel(io.ErrNoProgress)
		<-over
	})
	err := put(ctx, b)
	close(over)
	requireError(t, err, bucket.Unknown, "")
	require.ErrorIs(t, err, io.ErrNoProgress)
}

func TestRefusalNamesTheRegion(t *testing.T) {
	b := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
		refuse(w, http.StatusMovedPermanently, "PermanentRedirect")
	})
	require.ErrorContains(t, put(t.Context(), b), `(region: the bucket is in "eu-north-1")`)
}

// listed answers a LIST with keys, already escaped.
func listed(more bool, keys ...string) string {
	var s strings.Builder
	fmt.Fprintf(&s, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType><IsTruncated>%v</IsTruncated>`, more)
	for _, key := range keys {
		fmt.Fprintf(&s, `<Contents><Key>%s</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;tag&quot;</ETag><Size>7</Size></Contents>`, key)
	}
	return s.String() + `</ListBucketResult>`
}

func TestReadFaults(t *testing.T) {
	get := func(ctx context.Context, c *Client) error {
		_, _, err := c.Get(ctx, "f/k", bucket.GetOptions{Limit: 10})
		return err
	}
	list := func(ctx context.Context, c *Client) error { _, err := c.List(ctx, "f/", "f/b"); return err }
	del := func(ctx context.Context, c *Client) error { _, err := c.Delete(ctx, "f/k"); return err }
	cp := func(ctx context.Context, c *Client) error { _, err := c.Copy(ctx, "f/k", "q/k"); return err }
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	data := func(length, sent int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", `"tag"`)
			if length >= 0 {
				w.Header().Set("Content-Length", fmt.Sprint(length))
			} else {
				w.(http.Flusher).Flush()
			}
			fmt.Fprint(w, strings.Repeat("x", sent))
		}
	}
	for _, c := range []struct {
		name   string
		call   func(context.Context, *Client) error
		answer http.HandlerFunc
		kind   bucket.Kind
		code   string
	}{
		{"get cut off", get, data(5, 3), bucket.Unknown, ""},
		{"get larger than the limit", get, data(11, 11), bucket.TooLarge, ""},
		{"get larger than the limit, of no length", get, data(-1, 11), bucket.TooLarge, ""},
		{"get of a stranger", get, text("<html>"), bucket.Unknown, ""},
		{"get missing", get, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "NoSuchKey") }, bucket.NotFound, "NoSuchKey"},
		{"list of a stranger", list, text("<html>log in</html>"), bucket.Unknown, ""},
		{"list of garbage", list, text("\x00\x01<ListBucketResult"), bucket.Unknown, ""},
		{"list cut off", list, text(listed(false, "f/c")[:200]), bucket.Unknown, ""},
		{"list too long", list, text(strings.Repeat(" ", maxListing) + listed(false)), bucket.Unknown, ""},
		{"list out of order", list, text(listed(false, "f/d", "f/c")), bucket.Unknown, ""},
		{"list from the beginning again", list, text(listed(true, "f/a")), bucket.Unknown, ""},
		{"list of another prefix", list, text(listed(false, "g/a")), bucket.Unknown, ""},
		{"list without an end", list, text(listed(true)), bucket.Unknown, ""},
		{"list of a bad escape", list, text(listed(false, "f/%zz")), bucket.Unknown, ""},
		{"list denied", list, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "AccessDenied") }, bucket.Denied, "AccessDenied"},
		{"delete denied", del, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 403, "AccessDenied") }, bucket.Denied, "AccessDenied"},
		{"delete in no bucket", del, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "NoSuchBucket") }, bucket.NotFound, "NoSuchBucket"},
		{"copy that fails on the way", cp, text(`<Error><Code>InternalError</Code></Error>`), bucket.Unknown, "InternalError"},
		{"copy of a stranger", cp, text(""), bucket.Unknown, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			requireError(t, c.call(t.Context(), serve(t, c.answer)), c.kind, c.code)
		})
	}
}

func TestReadsSendNothingMoreThanTheyNeed(t *testing.T) {
	var got *http.Request
	b := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		switch r.Header.Get("X-Amz-Copy-Source") {
		case "":
			fmt.Fprint(w, listed(true, "f/b", "f/c%20%01%2Bd"))
		default:
			fmt.Fprint(w, `<CopyObjectResult><ETag>"tag"</ETag><LastModified>2026-01-02T03:04:05.000Z</LastModified></CopyObjectResult>`)
		}
	})
	page, err := b.List(t.Context(), "f/", "f/a")
	require.NoError(t, err)
	require.True(t, page.More)
	require.Equal(t, "f/c \x01+d", page.Objects[1].Key, "a foreign key does not spoil the listing")
	require.Equal(t, "encoding-type=url&list-type=2&prefix=f%2F&start-after=f%2Fa", got.URL.RawQuery)
	require.Equal(t, "/flares/", got.URL.Path)
	require.Len(t, got.Header, 4, "%v", got.Header)

	_, err = b.Copy(t.Context(), "f/a b", "q/k")
	require.NoError(t, err)
	require.Equal(t, "/flares/f/a%20b", got.Header.Get("X-Amz-Copy-Source"))
	require.Equal(t, "/flares/q/k", got.URL.Path)
	require.Len(t, got.Header, 6, "%v", got.Header)
}

func TestDeleteOfNothing(t *testing.T) {
	b := serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "NoSuchKey") })
	info, err := b.Delete(t.Context(), "f/k")
	require.NoError(t, err)
	require.False(t, info.Date.IsZero())
}
