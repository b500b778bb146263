package s3bucket

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// rulesXML is what AWS answers: every place where a prefix can stand, and rules
// that take nothing of ours.
const rulesXML = `<?xml version="1.0" encoding="UTF-8"?>
<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Rule><ID>everything</ID><Filter/><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule>
<Rule><ID>old form</ID><Prefix>f/</Prefix><Status>Enabled</Status><Expiration><Date>2027-01-01T00:00:00.000Z</Date></Expiration></Rule>
<Rule><ID>large ones</ID><Filter><And><Prefix>f/</Prefix><ObjectSizeGreaterThan>500</ObjectSizeGreaterThan></And></Filter><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>
<Rule><ID>archive</ID><Filter><Prefix>f/</Prefix></Filter><Status>Enabled</Status>
  <Transition><Days>1</Days><StorageClass>STANDARD_IA</StorageClass></Transition>
  <Transition><Days>2</Days><StorageClass>DEEP_ARCHIVE</StorageClass></Transition></Rule>
<Rule><ID>off</ID><Filter/><Status>Disabled</Status><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>tagged</ID><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>tagged, too</ID><Filter><And><Prefix>f/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>
<Rule><ID>markers</ID><Filter/><Status>Enabled</Status><Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration></Rule>
<Rule><ID>uploads</ID><Filter/><Status>Enabled</Status><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>
</LifecycleConfiguration>`

func TestRules(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.RawQuery != "lifecycle=" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		_, _ = io.WriteString(w, rulesXML)
	})
	rules, err := c.Rules(t.Context())
	require.NoError(t, err)
	const day = 24 * time.Hour
	require.Equal(t, []Rule{
		{Name: "everything", After: 30 * day},
		{Name: "old form", Prefix: "f/"},
		{Name: "large ones", Prefix: "f/", After: 7 * day},
		{Name: "archive", Prefix: "f/", After: 2 * day, Archives: true},
	}, rules)
}

// No rules, no right, and an answer that is nobody's: the last must not pass for
// a bucket without rules.
func TestRulesThatAreNotTold(t *testing.T) {
	answer := func(status int, code string) *Client {
		return serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, code) })
	}
	rules, err := answer(http.StatusNotFound, "NoSuchLifecycleConfiguration").Rules(t.Context())
	require.NoError(t, err)
	require.Empty(t, rules)

	_, err = answer(http.StatusForbidden, "AccessDenied").Rules(t.Context())
	requireError(t, err, bucket.Denied, "AccessDenied")
	_, err = answer(http.StatusNotImplemented, "NotImplemented").Rules(t.Context())
	requireError(t, err, bucket.Unknown, "NotImplemented")
	_, err = answer(http.StatusOK, "whatever").Rules(t.Context())
	requireError(t, err, bucket.Unknown, "")
}

// A key that lacks this right is no worse for it: what was proven stays in use.
func TestRulesSpareTheKey(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusForbidden, "AccessDenied") })
	require.NoError(t, c.Probe(t.Context()))
	require.False(t, c.Unproven())
	_, err := c.Rules(t.Context())
	requireError(t, err, bucket.Denied, "AccessDenied")
	require.False(t, c.Unproven())
}

func TestRuleTouches(t *testing.T) {
	for prefix, want := range map[string]bool{"": true, "f": true, "f/": true, "f/2026": true, "g/": false, "lifeline/": false} {
		require.Equal(t, want, (&Rule{Prefix: prefix}).Touches("f/"), prefix)
	}
}
