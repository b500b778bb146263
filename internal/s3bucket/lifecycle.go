package s3bucket

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// Rule is one lifecycle rule in force that takes objects away.
type Rule struct {
	Name     string
	Prefix   string        // of the keys that it is about; "": all
	After    time.Duration // the age of an object that it takes; 0: any, from a day on
	Archives bool          // it moves objects to where Get cannot read them, and deletes none
}

// Touches reports whether the rule may take an object whose key begins with prefix.
func (r *Rule) Touches(prefix string) bool {
	return strings.HasPrefix(prefix, r.Prefix) || strings.HasPrefix(r.Prefix, prefix)
}

// lifecycle is S3's document. Prefix stands in one of three places.
type lifecycle struct {
	XMLName xml.Name `xml:"LifecycleConfiguration"`
	Rule    []struct {
		ID, Prefix, Status string
		Filter             struct {
			Prefix string
			Tag    *struct{}
			And    struct {
				Prefix string
				Tag    []struct{}
			}
		}
		Expiration struct {
			Days int
			Date string
		}
		Transition []struct {
			Days         int
			StorageClass string
		}
	}
}

// Rules returns the bucket's lifecycle rules that take away what Lifeline puts
// there. It needs a right that no key of Lifeline's has by the shipped policies
// (Denied), and a store that has such rules (Unknown, code NotImplemented).
func (c *Client) Rules(ctx context.Context) ([]Rule, error) {
	// Signed like a probe: that a right is missing says nothing against the key.
	r := request{op: "get lifecycle of", key: c.cfg.Bucket, method: http.MethodGet, query: url.Values{"lifecycle": {""}}, sum: emptySum, read: bucket.GetOptions{Limit: maxListing}, probe: true}
	a, err := c.do(ctx, &r)
	if bucket.CodeOf(err) == "NoSuchLifecycleConfiguration" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all lifecycle
	if err := xml.Unmarshal(a.body, &all); err != nil {
		return nil, r.fail(bucket.Unknown, fmt.Errorf("%w: %.*q", errForeign, maxMessage, err.Error()))
	}
	return all.rules(), nil
}

func (l *lifecycle) rules() []Rule {
	const day = 24 * time.Hour
	var rules []Rule
	for _, r := range l.Rule {
		// What Lifeline puts has no tags, so a rule about tags is not about it.
		if r.Status != "Enabled" || r.Filter.Tag != nil || len(r.Filter.And.Tag) > 0 {
			continue
		}
		rule := Rule{Name: r.ID, Prefix: cmp.Or(r.Prefix, r.Filter.Prefix, r.Filter.And.Prefix)}
		if r.Expiration.Days > 0 || r.Expiration.Date != "" {
			rule.After = time.Duration(r.Expiration.Days) * day
			rules = append(rules, rule)
		}
		for _, t := range r.Transition {
			if t.StorageClass == "GLACIER" || t.StorageClass == "DEEP_ARCHIVE" {
				rule.After, rule.Archives = time.Duration(t.Days)*day, true
				rules = append(rules, rule)
			}
		}
	}
	return rules
}
