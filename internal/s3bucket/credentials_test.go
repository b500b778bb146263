package s3bucket

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

func TestParseCredentials(t *testing.T) {
	const text = "# comment\n; another\n\n[default]\naws_access_key_id=A\naws_secret_access_key = b=c \n\n[ flares ]\r\nAWS_ACCESS_KEY_ID = F\r\naws_secret_access_key = s\r\naws_session_token = t\r\nregion = x\r\n[half]\naws_access_key_id = H\n"
	for _, c := range []struct {
		text, profile string
		want          aws.Credentials
		err           string
	}{
		{text, "default", aws.Credentials{AccessKeyID: "A", SecretAccessKey: "b=c"}, ""},
		{text, "flares", aws.Credentials{AccessKeyID: "F", SecretAccessKey: "s", SessionToken: "t"}, ""},
		{text, "half", aws.Credentials{}, "section [half] needs aws_access_key_id and aws_secret_access_key"},
		{text, "other", aws.Credentials{}, "has no section [other]; add it or set profile"},
		{"", "default", aws.Credentials{}, "has no section [default]"},
		{"AKIA:secret", "default", aws.Credentials{}, "not in the shared-credentials format"},
	} {
		got, err := parseCredentials(c.text, c.profile)
		if c.err != "" {
			require.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
}

// keyring is a store that knows some keys, and the file that holds one.
type keyring struct {
	path   string
	known  map[string]string // key id to the code of a LIST's refusal, "" for a listing
	used   []string          // key ids, call by call
	client *Client
}

func newKeyring(t *testing.T) *keyring {
	t.Helper()
	k := &keyring{path: filepath.Join(t.TempDir(), "s3"), known: map[string]string{}}
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	cfg := config(server.URL)
	cfg.AccessKeyID, cfg.SecretAccessKey, cfg.CredentialsFile = "", "", k.path
	k.client = open(t, cfg)
	return k
}

func (k *keyring) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, id, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ = strings.Cut(id, "/")
	k.used = append(k.used, id)
	_, _ = io.Copy(io.Discard, r.Body)
	code, known := k.known[id]
	switch {
	case !known:
		refuse(w, http.StatusForbidden, "InvalidAccessKeyId")
	case r.Method == http.MethodPut:
		w.Header().Set("ETag", "tag")
	case code == "":
		_, _ = io.WriteString(w, listed(false))
	default:
		refuse(w, http.StatusForbidden, code)
	}
}

// write replaces the file as deployments do: by rename.
func (k *keyring) write(t *testing.T, id string) {
	t.Helper()
	text := "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = secret\n"
	if id == "" {
		text = "garbage"
	}
	require.NoError(t, os.WriteFile(k.path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(k.path+".new", k.path))
}

func TestCredentialsFileIsReadAgain(t *testing.T) {
	k := newKeyring(t)
	k.known["one"], k.known["two"] = "AccessDenied", "AccessDenied"
	err := put(t.Context(), k.client)
	requireError(t, err, bucket.Denied, "")
	require.ErrorContains(t, err, "credentials_file: ")
	require.Error(t, k.client.Refresh(t.Context()))
	require.True(t, k.client.Unproven())
	require.Empty(t, k.used)

	k.write(t, "one")
	require.NoError(t, put(t.Context(), k.client), "a file that came later is taken")
	k.write(t, "two")
	require.NoError(t, put(t.Context(), k.client), "unproven gives way to unproven")
	k.write(t, "")
	require.NoError(t, put(t.Context(), k.client), "a broken file does not replace a good one")
	require.ErrorContains(t, k.client.Refresh(t.Context()), "not in the shared-credentials format")
	require.ErrorContains(t, k.client.Probe(t.Context()), "credentials_file: ")
	require.Equal(t, []string{"one", "two", "two"}, k.used)
}

func TestProvenCredentialsStayUntilOthersAreProven(t *testing.T) {
	k := newKeyring(t)
	k.known["one"] = "AccessDenied"
	k.write(t, "one")
	require.NoError(t, k.client.Probe(t.Context()))
	require.False(t, k.client.Unproven())

	k.write(t, "typo")
	require.True(t, k.client.Unproven())
	require.NoError(t, put(t.Context(), k.client), "the proven key still works")
	err := k.client.Probe(t.Context())
	requireError(t, err, bucket.Denied, "InvalidAccessKeyId")
	require.NoError(t, put(t.Context(), k.client))
	require.Equal(t, []string{"one", "one", "typo", "one"}, k.used)

	k.write(t, "two")
	k.known["two"] = "AccessDenied"
	require.NoError(t, k.client.Probe(t.Context()))
	require.NoError(t, put(t.Context(), k.client))
	require.Equal(t, []string{"two", "two"}, k.used[4:])
}

func TestRefusedCredentialsGiveWay(t *testing.T) {
	k := newKeyring(t)
	k.known["one"] = "AccessDenied"
	k.write(t, "one")
	require.NoError(t, k.client.Probe(t.Context()))
	delete(k.known, "one") // rotated, and nobody asked for a probe
	k.known["two"] = "AccessDenied"
	k.write(t, "two")
	requireError(t, put(t.Context(), k.client), bucket.Denied, "InvalidAccessKeyId")
	require.NoError(t, put(t.Context(), k.client))
	require.Equal(t, []string{"one", "one", "two"}, k.used)
}

func TestProbeAnswers(t *testing.T) {
	k := newKeyring(t)
	k.write(t, "one")
	for _, c := range []struct{ code, want string }{
		{"AccessDenied", ""},
		{"", ErrCanRead.Error()},
		{"AllAccessDisabled", "list f/: denied AllAccessDisabled"},
	} {
		k.known["one"] = c.code
		err := k.client.Probe(t.Context())
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"a stranger's 403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"a stranger's 200": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, answer)
			requireError(t, b.Probe(t.Context()), bucket.Unknown, "")
			require.True(t, b.Unproven())
		})
	}
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down error
		made := 0
		c := &credentials{session: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			made++
			return aws.Credentials{AccessKeyID: "ASIA", SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: time.Now().Add(time.Hour)}, down
		})}
		_, err := c.current()
		require.ErrorContains(t, err, "no temporary credentials were obtained yet")
		require.Zero(t, made, "choosing credentials makes no call")

		require.NoError(t, c.refresh(t.Context()))
		first, err := c.current()
		require.NoError(t, err)
		time.Sleep(29 * time.Minute)
		require.NoError(t, c.refresh(t.Context()))
		require.Equal(t, 1, made)
		time.Sleep(2 * time.Minute)
		down = errors.New("STS is down")
		require.ErrorContains(t, c.refresh(t.Context()), "get temporary credentials: STS is down")
		still, err := c.current()
		require.NoError(t, err)
		require.Equal(t, first, still)

		time.Sleep(30 * time.Minute)
		_, err = c.current()
		require.ErrorContains(t, err, "expired at")
		down = nil
		require.NoError(t, c.refresh(t.Context()))
		_, err = c.current()
		require.NoError(t, err)
	})
}

func TestRoleIsAssumedUnderOneName(t *testing.T) {
	var form string
	rt := roundTrip(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		form = r.URL.Host + " " + string(body)
		const answer = `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-02T03:04:05Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(answer)), Header: http.Header{}}, err
	})
	cfg := config("")
	cfg.Region, cfg.RoleARN = "eu-west-1", "arn:aws:iam::123456789012:role/flares"
	c := newCredentials(cfg, rt)
	require.NoError(t, c.refresh(t.Context()))
	got, err := c.current()
	require.NoError(t, err)
	require.Equal(t, "ASIA", got.AccessKeyID)
	require.Equal(t, "t", got.SessionToken)
	require.Contains(t, form, "sts.eu-west-1.amazonaws.com ")
	require.Contains(t, form, "RoleSessionName=lifeline")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
