package s3bucket

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

var emptySum = sha256.Sum256(nil)

// signer is safe for concurrent use. S3 paths are escaped once, by us.
var signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })

// request is one call to the store.
type request struct {
	op, key string // as in bucket.Error
	target  string // the key in the URL, if it is not key
	method  string
	query   url.Values // set: the URL is the bucket's
	header  http.Header
	body    frame.Body // nil: none
	sum     [sha256.Size]byte
	read    bucket.GetOptions // of a good answer
	probe   bool              // sign with the newest credentials, proven or not
	signed  aws.Credentials
}

// fail returns the error of a call that got no answer of the store's.
func (r *request) fail(kind bucket.Kind, err error) *bucket.Error {
	return &bucket.Error{Op: r.op, Key: r.key, Kind: kind, Err: err}
}

// do makes one attempt and returns a good answer, read to its end, or a
// *bucket.Error.
func (c *Client) do(ctx context.Context, r *request) (*answer, error) {
	rt, err := c.http.get()
	if err != nil {
		return nil, r.fail(bucket.Unreachable, err)
	}
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := c.build(ctx, r)
	if err != nil {
		return nil, r.fail(bucket.Denied, err)
	}
	if r.body != nil && r.body.Len() > 0 {
		// There is no GetBody: a PUT that may have arrived is not sent twice by itself.
		loan := frame.Lend(r.body)
		defer loan.End()
		req.Body = loan.Reader()
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		kind := bucket.Unreachable
		if connected.Load() {
			kind = bucket.Unknown
		}
		return nil, r.fail(kind, cmp.Or(context.Cause(ctx), err))
	}
	defer resp.Body.Close()
	c.saw(resp.TLS)
	a, err := c.read(r, resp)
	if bucket.KindOf(err) == bucket.Denied && bucket.CodeOf(err) != codeSkewed && !r.probe {
		c.creds.refused(r.signed)
	}
	return a, err
}

// build returns the signed request, without its body.
func (c *Client) build(ctx context.Context, r *request) (*http.Request, error) {
	choose := c.creds.current
	if r.probe {
		choose = c.creds.newest
	}
	creds, err := choose()
	if err != nil {
		return nil, err
	}
	r.signed = creds
	key := cmp.Or(r.target, r.key)
	if r.query != nil {
		key = ""
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	req.URL = c.object(key, r.query)
	if r.header != nil {
		req.Header = r.header
	}
	if r.body != nil {
		req.ContentLength = r.body.Len()
	}
	sum := hex.EncodeToString(r.sum[:])
	req.Header.Set("User-Agent", "lifeline")
	req.Header.Set("X-Amz-Content-Sha256", sum)
	if c.cfg.ExpectedBucketOwner != "" {
		req.Header.Set("X-Amz-Expected-Bucket-Owner", c.cfg.ExpectedBucketOwner)
	}
	if err := signer.SignHTTP(ctx, creds, req, sum, "s3", c.cfg.region(), c.clock.now()); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return req, nil
}
