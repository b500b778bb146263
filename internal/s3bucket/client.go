package s3bucket

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// ErrCanRead is returned by Probe if the key may list the bucket. An agent's key
// should not: whoever steals it sees who sends flares, and when.
var ErrCanRead = errors.New("the key may list the bucket; give agents one that may only put objects below prefix")

// Client is a bucket.Bucket on S3. Its methods may be called concurrently. A
// call is bounded by its context alone once data flows: callers set a deadline.
type Client struct {
	cfg   Config
	base  *url.URL
	creds *credentials
	clock clock
	http  *transports
	ends  atomic.Int64 // Unix seconds, 0: not known
}

var _ bucket.Bucket = (*Client)(nil)

// New returns a Client for a valid Config. It does no I/O: what is wrong with a
// file shows in Refresh, in Probe and in every call that needs the file.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	base, err := cfg.base()
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	transports, err := newTransports(cfg)
	if err != nil {
		return nil, fmt.Errorf("proxy_url: %w", err)
	}
	return &Client{cfg: cfg, base: base, creds: newCredentials(cfg, transports), http: transports}, nil
}

// Prefix returns the prefix of flares in this bucket; it ends with a slash.
func (c *Client) Prefix() string { return c.cfg.Prefix }

// ClockOffset returns what to add to the local clock to get the store's, as its
// last answer told it: one that only S3 gives, since anybody on the way can send a
// date. It is 0 if there was none or if they agree within two seconds.
func (c *Client) ClockOffset() time.Duration { return c.clock.offset() }

// NotAfter returns when the first certificate of the store's chain ends, as its
// last answer over TLS showed it; the zero time before that.
func (c *Client) NotAfter() time.Time {
	if ends := c.ends.Load(); ends != 0 {
		return time.Unix(ends, 0)
	}
	return time.Time{}
}

// saw takes note of the handshake that an answer came over; nil: there was none.
func (c *Client) saw(state *tls.ConnectionState) {
	if state == nil {
		return
	}
	if end := dial.FirstEnd(*state); !end.IsZero() {
		c.ends.Store(end.Unix())
	}
}

// Close closes idle connections. The Client stays usable.
func (c *Client) Close() { c.http.close() }

// Refresh makes ready what must not be fetched in an emergency: it reads the
// files again if they changed and renews temporary credentials that have half
// of their life behind them. With a key pair or a file it makes no call. It
// returns what is wrong; what was in force before stays in force.
func (c *Client) Refresh(ctx context.Context) error {
	return errors.Join(c.http.check(), c.creds.refresh(ctx))
}

// Unproven reports whether the newest credentials have not passed Probe: at
// first, after a change of credentials_file, after a renewal. Until they pass,
// older ones that did stay in use, as long as the store takes them.
func (c *Client) Unproven() bool { return c.creds.unproven() }

// Probe refreshes, and proves name, route, TLS, clock and the newest key with
// one signed LIST of the prefix that must be refused. It returns nil if the store
// answered AccessDenied, ErrCanRead if it answered with a listing, else what is
// wrong. S3 answers AccessDenied for a bucket of somebody else, too.
func (c *Client) Probe(ctx context.Context) error {
	if err := c.Refresh(ctx); err != nil {
		return err
	}
	err := c.probe(ctx)
	if bucket.CodeOf(err) == codeSkewed {
		err = c.probe(ctx) // that answer told the time
	}
	return err
}

func (c *Client) probe(ctx context.Context) error {
	r := listing(c.cfg.Prefix, url.Values{"max-keys": {"1"}})
	r.probe = true
	a, err := c.do(ctx, &r)
	if err == nil {
		_, err = c.page(&r, a, "")
	}
	if err != nil && bucket.CodeOf(err) != "AccessDenied" {
		return err
	}
	c.creds.prove(r.signed)
	if err == nil {
		return ErrCanRead
	}
	return nil
}

const codeSkewed = "RequestTimeTooSkewed"

// Put implements bucket.Bucket. body is read twice, once to hash it and once to
// send it, and not any more when Put has returned.
func (c *Client) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (bucket.Info, error) {
	r := request{op: "put", key: key, method: http.MethodPut, header: http.Header{}, body: body, read: bucket.GetOptions{Limit: maxNote}}
	hash := sha256.New()
	if n, err := body.WriteTo(hash); err != nil || n != body.Len() {
		return bucket.Info{}, r.fail(bucket.Unreachable, fmt.Errorf("read the body: %d of %d bytes: %w", n, body.Len(), errors.Join(err, errShortBody)))
	}
	hash.Sum(r.sum[:0])
	digest := base64.StdEncoding.EncodeToString(r.sum[:])
	r.header.Set("X-Amz-Checksum-Sha256", digest)
	if opts.IfNoneMatch {
		r.header.Set("If-None-Match", "*")
	}
	if opts.IfMatch != "" {
		r.header.Set("If-Match", `"`+opts.IfMatch+`"`)
	}
	a, err := c.do(ctx, &r)
	if err != nil {
		return bucket.Info{}, err
	}
	stored := a.header.Get("X-Amz-Checksum-Sha256")
	if n, failed := noteIn(a.body); failed {
		return bucket.Info{}, &bucket.Error{Op: r.op, Key: key, Kind: bucket.Unknown, Code: n.Code, Err: errors.New("an error with status 200")}
	}
	if a.etag() == "" || (stored != "" && stored != digest) {
		return bucket.Info{}, r.fail(bucket.Unknown, errForeign)
	}
	c.clock.learn(a.date)
	return bucket.Info{Key: key, Size: body.Len(), ETag: a.etag(), Date: a.date}, nil
}

var errShortBody = errors.New("the body is not what Len says")

// Get implements bucket.Bucket.
func (c *Client) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	r := request{op: "get", key: key, method: http.MethodGet, sum: emptySum, read: opts}
	a, err := c.do(ctx, &r)
	if err != nil {
		return nil, bucket.Info{}, err
	}
	if a.etag() == "" {
		return nil, bucket.Info{}, r.fail(bucket.Unknown, errForeign)
	}
	c.clock.learn(a.date)
	modified, _ := http.ParseTime(a.header.Get("Last-Modified"))
	return a.body, bucket.Info{Key: key, Size: int64(len(a.body)), ETag: a.etag(), LastModified: modified, Date: a.date}, nil
}

// Delete implements bucket.Bucket.
func (c *Client) Delete(ctx context.Context, key string) (bucket.Info, error) {
	r := request{op: "delete", key: key, method: http.MethodDelete, sum: emptySum, read: bucket.GetOptions{Limit: maxNote}}
	a, err := c.do(ctx, &r)
	if bucket.CodeOf(err) == "NoSuchKey" {
		e, _ := errors.AsType[*bucket.Error](err)
		return bucket.Info{Key: key, Date: e.Date}, nil
	}
	if err != nil {
		return bucket.Info{}, err
	}
	return bucket.Info{Key: key, Date: a.date}, nil
}

// Copy implements bucket.Bucket.
func (c *Client) Copy(ctx context.Context, src, dst string) (bucket.Info, error) {
	r := request{op: "copy", key: src, target: dst, method: http.MethodPut, header: http.Header{}, sum: emptySum, read: bucket.GetOptions{Limit: maxNote}}
	r.header.Set("X-Amz-Copy-Source", escape("/"+c.cfg.Bucket+"/"+src))
	a, err := c.do(ctx, &r)
	if err != nil {
		return bucket.Info{}, err
	}
	info, err := a.copied(&r)
	c.clock.learn(info.Date)
	return info, err
}

// List implements bucket.Bucket.
func (c *Client) List(ctx context.Context, prefix, after string) (bucket.Page, error) {
	query := url.Values{}
	if after != "" {
		query.Set("start-after", after)
	}
	r := listing(prefix, query)
	a, err := c.do(ctx, &r)
	if err != nil {
		return bucket.Page{}, err
	}
	return c.page(&r, a, after)
}

// page reads a listing, and the time if it is one.
func (c *Client) page(r *request, a *answer, after string) (bucket.Page, error) {
	page, err := a.page(r, after)
	c.clock.learn(page.Date)
	return page, err
}

func listing(prefix string, query url.Values) request {
	query.Set("list-type", "2")
	query.Set("encoding-type", "url") // a foreign key need not be valid XML
	query.Set("prefix", prefix)
	return request{op: "list", key: prefix, method: http.MethodGet, query: query, sum: emptySum, read: bucket.GetOptions{Limit: maxListing}}
}
