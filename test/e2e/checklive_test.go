package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/certtest"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
)

// front is a TLS entrance to a Server, with a certificate that ends at a time of
// its own. It plays the part of AWS where versitygw has nothing to tell: rules is
// the answer about lifecycle rules, "" for the server's own.
type front struct {
	endpoint, caFile string
	keys             string // what init wrote

	mu sync.Mutex
	// mu guards the following.
	rules  string
	status int
}

// answer sets the answer about lifecycle rules.
func (f *front) answer(status int, rules string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status, f.rules = status, rules
}

func newFront(t *testing.T, s *s3.Server, end time.Time) *front {
	t.Helper()
	cert, ca := certtest.Self(t, "127.0.0.1", end)
	f := &front{caFile: ca, keys: filepath.Join(t.TempDir(), "keys")}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: s.Addr()})
		r.Out.Host = r.In.Host // it is signed
	}}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		status, rules := f.status, f.rules
		f.mu.Unlock()
		if !r.URL.Query().Has("lifecycle") || rules == "" {
			proxy.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, rules)
	}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // who does not like the certificate
	server.StartTLS()
	t.Cleanup(server.Close)
	f.endpoint = server.URL

	out, err := exec.CommandContext(t.Context(), lifeline, "init", f.keys, "--principal", "acme/host-17").CombinedOutput() //nolint:gosec // our own binary
	require.NoError(t, err, "%s", out)
	return f
}

// liveReport is what `lifeline check --live --json` prints.
type liveReport struct {
	Faults, Warnings, Proven []string
	NotChecked               []string `json:"not_checked"`
}

// check asks the network for one of the configurations that init wrote, with this
// key for the bucket.
func (f *front) check(t *testing.T, role string, a s3.Account) liveReport {
	t.Helper()
	credentials := filepath.Join(f.keys, map[string]string{"agent": "s3", "recovery": "s3-recovery"}[role])
	require.NoError(t, a.WriteFile(credentials))
	bucket := fmt.Sprintf("{bucket: %s, region: %s, prefix: %s, endpoint: %q, path_style: true, ca_file: %q, credentials_file: %q}",
		s3.Bucket, s3.Region, s3.Prefix, f.endpoint, f.caFile, credentials)
	server := fmt.Sprintf("{endpoint: %q, tls: {ca_file: %q}}", f.endpoint, f.caFile)
	args := []string{"check", "--live", "--json", filepath.Join(f.keys, role+".yaml")}
	if role == "agent" {
		args = append(args, "yaml:exporters::lifeline::http: "+server, "yaml:exporters::lifeline::flare::buckets: ["+bucket+"]")
	} else {
		args = append(args, "yaml:extensions::flare_recovery::forward::http: "+server, "yaml:extensions::flare_recovery::s3: "+bucket)
	}
	var stdout, stderr bytes.Buffer
	check := exec.CommandContext(env.Within(t, time.Minute), lifeline, args...) //nolint:gosec // our own binary
	check.Stdout, check.Stderr = &stdout, &stderr
	err := check.Run()
	var report liveReport
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &report), "%v\n%s\n%s", err, &stdout, &stderr)
	require.Equal(t, len(report.Faults) > 0, err != nil, "%v\n%s", err, &stderr)
	return report
}

// requireLine checks that one of lines begins so, and holds this.
func requireLine(t *testing.T, lines []string, begins, holds string) {
	t.Helper()
	for _, line := range lines {
		if strings.HasPrefix(line, begins) && strings.Contains(line, holds) {
			return
		}
	}
	t.Errorf("no line begins with %q and holds %q in\n%s", begins, holds, strings.Join(lines, "\n"))
}

func startS3(t *testing.T) *s3.Server {
	t.Helper()
	s, err := s3.Start(t.Context(), s3.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

const (
	atBucket   = "exporters::lifeline::flare::buckets::0: "
	atRecovery = "extensions::flare_recovery::s3: "
)

// The certificate of the store ends like a gateway's, and nobody looks at a
// bucket that should never see data.
func TestCheckLiveCertificates(t *testing.T) {
	s := startS3(t)
	const day = 24 * time.Hour
	t.Run("good", func(t *testing.T) {
		f := newFront(t, s, time.Now().Add(15*day))
		agent, recovery := f.check(t, "agent", s3.Writer), f.check(t, "recovery", s3.Recovery)
		require.Empty(t, append(agent.Faults, recovery.Faults...))
		requireLine(t, agent.Proven, atBucket, "its certificate is good until")
		requireLine(t, recovery.Proven, atRecovery, "its certificate is good until")
		requireLine(t, recovery.Proven, atRecovery, "the key cannot delete in quarantine")
	})
	t.Run("soon", func(t *testing.T) {
		f := newFront(t, s, time.Now().Add(13*day))
		agent, recovery := f.check(t, "agent", s3.Writer), f.check(t, "recovery", s3.Recovery)
		require.Empty(t, append(agent.Faults, recovery.Faults...))
		requireLine(t, agent.Warnings, atBucket, "renew it now")
		requireLine(t, agent.Warnings, "exporters::lifeline: ", "renew it now")
		requireLine(t, recovery.Warnings, atRecovery, "renew it now")
	})
	t.Run("ended", func(t *testing.T) {
		f := newFront(t, s, time.Now().Add(-time.Hour))
		requireLine(t, f.check(t, "agent", s3.Writer).Faults, atBucket, "; renew the certificate")
		requireLine(t, f.check(t, "recovery", s3.Recovery).Faults, atRecovery, "; renew the certificate")
	})
}

func TestCheckLiveLifecycle(t *testing.T) {
	s := startS3(t)
	f := newFront(t, s, time.Now().Add(365*24*time.Hour))

	// What versitygw says itself: it has no such rules.
	report := f.check(t, "recovery", s3.Recovery)
	require.Empty(t, report.Faults)
	requireLine(t, report.NotChecked, atRecovery, "lifecycle rules, which could not be read (")
	requireLine(t, report.NotChecked, atRecovery, "NotImplemented")

	// What AWS says to recovery's key under the shipped policies.
	f.answer(http.StatusForbidden, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
	report = f.check(t, "recovery", s3.Recovery)
	require.Empty(t, report.Faults)
	requireLine(t, report.NotChecked, atRecovery, "lifecycle rules, which this key may not read (s3:GetLifecycleConfiguration); see that f/ is kept at least 90 days, there is none for lifeline/quarantine/, lifeline/done/ is kept at least 16 days")

	rules := `<LifecycleConfiguration><Rule><ID>tidy</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status><Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>`
	f.answer(http.StatusOK, rules)
	report = f.check(t, "recovery", s3.Recovery)
	require.Empty(t, report.Faults)
	requireLine(t, report.Warnings, atRecovery, `the lifecycle rule "tidy" deletes flares that nobody recovered yet, after 30 days: f/ is kept at least 90 days`)
	requireLine(t, report.Warnings, atRecovery, `"tidy" deletes what only a person may give up`)

	f.answer(http.StatusOK, strings.Replace(rules, "<Prefix></Prefix>", "<Prefix>logs/</Prefix>", 1))
	report = f.check(t, "recovery", s3.Recovery)
	require.Empty(t, report.Warnings)
	requireLine(t, report.Proven, atRecovery, "no lifecycle rule takes flares, quarantine or notes too soon")
}
