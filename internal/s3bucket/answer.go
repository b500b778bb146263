package s3bucket

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

const (
	maxNote    = 64 << 10 // an error, a copy's result
	maxListing = 8 << 20  // 1000 keys of 1024 escaped bytes, and their tags
	maxMessage = 256
)

var (
	errForeign  = errors.New("the answer is not S3's; a proxy or a stranger may have given it: check endpoint, region and proxy_url")
	errTooLarge = errors.New("larger than the limit")
)

// answer is a good answer, read to its end.
type answer struct {
	header http.Header
	body   []byte
	date   time.Time // unproven
}

// etag returns the ETag without its quotes: some servers leave them out in listings.
func (a *answer) etag() string { return strings.Trim(a.header.Get("Etag"), `"`) }

// read turns resp into an answer or a *bucket.Error. A good answer may still be a
// stranger's: its caller looks at what it says, and then believes its date.
func (c *Client) read(r *request, resp *http.Response) (*answer, error) {
	date, _ := http.ParseTime(resp.Header.Get("Date")) // no date: zero
	if resp.StatusCode != http.StatusOK && (r.op != "delete" || resp.StatusCode != http.StatusNoContent) {
		note, _ := readAll(resp, bucket.GetOptions{Limit: maxNote}) // what was cut off does not parse
		return nil, c.refusal(r, resp, note, date)
	}
	body, err := readAll(resp, r.read)
	if err != nil {
		kind := bucket.Unknown
		if r.op == "get" && errors.Is(err, errTooLarge) {
			kind = bucket.TooLarge
		}
		return nil, &bucket.Error{Op: r.op, Key: r.key, Kind: kind, Err: fmt.Errorf("read the answer: %w", err)}
	}
	return &answer{header: resp.Header, body: body, date: date}, nil
}

// readAll reads the body of resp unless it is larger than the limit, or as much of
// it as is needed: the rest is cut off with the connection then.
func readAll(resp *http.Response, o bucket.GetOptions) ([]byte, error) {
	if resp.ContentLength > o.Limit {
		return nil, errTooLarge
	}
	var body bytes.Buffer
	for {
		next := o.Next(body.Bytes())
		if next <= 0 {
			return body.Bytes(), nil
		}
		if left := resp.ContentLength - int64(body.Len()); left >= 0 {
			body.Grow(int(min(next, left)) + bytes.MinRead) // ReadFrom needs no more: a large body is copied once
		}
		n, err := body.ReadFrom(io.LimitReader(resp.Body, next))
		switch {
		case err != nil:
			return nil, err
		case int64(body.Len()) > o.Limit:
			return nil, errTooLarge
		case n < next:
			return body.Bytes(), nil
		}
	}
}

// note is S3's error document.
type note struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

var codeForm = regexp.MustCompile(`^[A-Za-z0-9.]{1,64}$`)

// noteIn returns the error document in body; false if it holds none of S3's.
func noteIn(body []byte) (note, bool) {
	var n note
	if err := xml.Unmarshal(body, &n); err != nil || !codeForm.MatchString(n.Code) {
		return note{}, false
	}
	return n, true
}

// refusal explains an answer that is not a good one. Only S3's own tells the time.
func (c *Client) refusal(r *request, resp *http.Response, body []byte, date time.Time) *bucket.Error {
	e := &bucket.Error{Op: r.op, Key: r.key}
	n, ok := noteIn(body)
	if !ok {
		e.Err = fmt.Errorf("status %d: %w", resp.StatusCode, errForeign)
		return e
	}
	c.clock.learn(date)
	e.Date = date
	e.Kind, e.Code = kindOf(resp.StatusCode, n.Code), n.Code
	message := fmt.Sprintf("%.*q", maxMessage, n.Message)
	if region := resp.Header.Get("X-Amz-Bucket-Region"); region != "" && region != c.cfg.region() {
		message += fmt.Sprintf(" (region: the bucket is in %.64q)", region)
	}
	e.Err = fmt.Errorf("status %d: %s", resp.StatusCode, message)
	return e
}

// kindOf says what a refusal of S3's own means.
func kindOf(status int, code string) bucket.Kind {
	switch code {
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired": // 400, but about the credential
		return bucket.Denied
	case "RequestTimeout": // 400, but transient
		return bucket.Unknown
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return bucket.Denied
	case http.StatusNotFound:
		return bucket.NotFound
	case http.StatusPreconditionFailed:
		return bucket.Exists
	case http.StatusTooManyRequests:
		return bucket.Throttled
	case http.StatusRequestTimeout, http.StatusConflict:
		return bucket.Unknown
	}
	switch {
	case status == http.StatusServiceUnavailable && strings.HasPrefix(code, "SlowDown"):
		return bucket.Throttled
	case status >= 300 && status < 500: // a redirect is not followed, so nothing was done
		return bucket.Refused
	}
	return bucket.Unknown
}

// copied reads a copy's result. S3 sends status 200 before it knows the outcome:
// an error may follow in the body.
func (a *answer) copied(r *request) (bucket.Info, error) {
	var result struct {
		XMLName      xml.Name `xml:"CopyObjectResult"`
		ETag         string
		LastModified time.Time
	}
	if err := xml.Unmarshal(a.body, &result); err != nil || result.ETag == "" {
		n, _ := noteIn(a.body) // no note: no code
		return bucket.Info{}, &bucket.Error{Op: r.op, Key: r.key, Kind: bucket.Unknown, Code: n.Code, Err: errors.New("the copy failed after it had begun")}
	}
	return bucket.Info{Key: r.target, ETag: strings.Trim(result.ETag, `"`), LastModified: result.LastModified, Date: a.date}, nil
}

// page reads a listing. A caller goes on behind the last key, so keys that do
// not ascend from after would be missed, or listed for ever: they are an error.
func (a *answer) page(r *request, after string) (bucket.Page, error) {
	var list struct {
		XMLName      xml.Name `xml:"ListBucketResult"`
		EncodingType string
		IsTruncated  bool
		Contents     []struct {
			Key, ETag    string
			Size         int64
			LastModified time.Time
		}
	}
	if err := xml.Unmarshal(a.body, &list); err != nil {
		return bucket.Page{}, r.fail(bucket.Unknown, fmt.Errorf("%w: %.*q", errForeign, maxMessage, err.Error()))
	}
	page := bucket.Page{More: list.IsTruncated, Date: a.date, Objects: make([]bucket.Info, 0, len(list.Contents))}
	for _, o := range list.Contents {
		key := o.Key
		if list.EncodingType == "url" {
			var err error
			if key, err = url.QueryUnescape(key); err != nil {
				return bucket.Page{}, r.fail(bucket.Unknown, fmt.Errorf("decode a key: %w", err))
			}
		}
		if key <= after || !strings.HasPrefix(key, r.key) {
			return bucket.Page{}, r.fail(bucket.Unknown, fmt.Errorf("the listing is not in order at %.*q; directory buckets are not supported", maxMessage, key))
		}
		after = key
		page.Objects = append(page.Objects, bucket.Info{Key: key, Size: o.Size, ETag: strings.Trim(o.ETag, `"`), LastModified: o.LastModified, Date: a.date})
	}
	if page.More && len(page.Objects) == 0 {
		return bucket.Page{}, r.fail(bucket.Unknown, errors.New("an empty page that says there are more"))
	}
	return page, nil
}
