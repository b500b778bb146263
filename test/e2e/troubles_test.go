package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// telling makes health_check answer 500 while a component reports an error.
const telling = "yaml:extensions::health_check::component_health: {include_permanent_errors: true, include_recoverable_errors: true, recovery_duration: 0s}"

// witness sees whether a collector's log, its status and its status page agree.
type witness struct {
	t    *testing.T
	ctx  context.Context
	role *stack.Role
	page string // the component
	seen int    // lines of the log
}

// sees waits for a new line of the log, after which the page names these problems,
// and the status is an error if there are any.
func (w *witness) sees(line string, problems ...string) {
	w.t.Helper()
	text, err := w.role.P.WaitLineAfter(w.ctx, w.seen, line)
	require.NoError(w.t, err)
	w.seen += slices.Index(w.role.P.Lines()[w.seen:], text) + 1 // the next may have come already
	var of []string
	for _, row := range statusPage(w.ctx, w.t, w.role, w.page)["problems"] {
		of = append(of, row["of"].(string))
	}
	require.Equal(w.t, problems, of, "after %q", line)
	req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, "http://"+w.role.Health, http.NoBody)
	require.NoError(w.t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	require.NoError(w.t, resp.Body.Close())
	want := http.StatusOK
	if len(problems) > 0 {
		want = http.StatusInternalServerError
	}
	require.Equal(w.t, want, resp.StatusCode, "after %q: %s", line, body)
}

// replace puts text in the place of a file at one stroke, and returns what it held.
func replace(t *testing.T, path, text string) string {
	t.Helper()
	before, err := os.ReadFile(path) //nolint:gosec // of the test's own stack
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
	return string(before)
}

// TestTroublesOfAnAgentAndTheirEnds: while the gateway is away, keys and bucket fail
// and heal. At each step log, status and page agree, and in the end all are content.
func TestTroublesOfAnAgentAndTheirEnds(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_MAX_AGE=2s", "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Agent.Configs = append(s.Agent.Configs, telling, quickly)
	require.NoError(t, s.Agent.Launch("--feature-gates=+extension.healthcheck.useComponentStatus"))
	require.NoError(t, s.Agent.P.Healthy(ctx, "http://"+s.Agent.Health))
	w := &witness{t: t, ctx: ctx, role: s.Agent, page: "exporters::lifeline"}
	var l audit.Ledger
	accept(ctx, t, s, &l, 3)
	w.sees("The gateway does not take data", "gateway")
	w.sees("A flare was stored", "gateway")
	good := replace(t, s.Path("keys", "recipients.txt"), "garbage\n")
	accept(ctx, t, s, &l, 3)
	w.sees("The key files of the fallback are not usable", "flare keys", "gateway")
	w.sees("A flare was stored", "flare keys", "gateway") // with the last good keys
	replace(t, s.Path("keys", "recipients.txt"), good)
	accept(ctx, t, s, &l, 3)
	w.sees("The key files of the fallback are good again", "gateway")
	s.Guard.Inject(s3.SlowDown, http.MethodPut, -1)
	accept(ctx, t, s, &l, 3)
	w.sees("The bucket does not take flares", "gateway", "put to acme-flares/f/")
	require.Positive(t, s.Guard.Struck())
	s.Guard.Inject(s3.SlowDown, http.MethodPut, 0)
	w.sees("The bucket takes flares", "gateway")
	accept(ctx, t, s, &l, 1)
	require.NoError(t, s.Gateway.Start(ctx))
	w.sees("The gateway takes data")
}

// TestTroublesOfRecoveryAndTheirEnds is that of the agent, for recovery.
func TestTroublesOfRecoveryAndTheirEnds(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s", "LIFELINE_S3_ENDPOINT="+s.Guard.Endpoint())
	s.Recovery.Configs = append(s.Recovery.Configs, telling)
	require.NoError(t, s.Recovery.Launch("--feature-gates=+extension.healthcheck.useComponentStatus"))
	require.NoError(t, s.Recovery.P.Healthy(ctx, "http://"+s.Recovery.Health))
	w := &witness{t: t, ctx: ctx, role: s.Recovery, page: "extensions::flare_recovery"}
	s.Guard.Inject(s3.SlowDown, http.MethodGet, -1)
	w.sees("recovery pauses", "path")
	good := replace(t, s.Path("keys", "allowed_signers"), "garbage\n")
	w.sees("a key file of recovery cannot be used", "keys", "path")
	require.Positive(t, s.Guard.Struck())
	s.Guard.Inject(s3.SlowDown, http.MethodGet, 0)
	w.sees("recovery goes on", "keys")
	replace(t, s.Path("keys", "allowed_signers"), good)
	w.sees("the key files of recovery are in order")

	// A flare comes while the gateway is away.
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_SCRAPE_INTERVAL=1h")
	require.NoError(t, s.Agent.Start(ctx))
	var l audit.Ledger
	accept(ctx, t, s, &l, 3)
	require.NoError(t, s.Agent.Stop(ctx))
	w.sees("recovery pauses", "path")
	require.NoError(t, s.Gateway.Start(ctx))
	w.sees("recovery goes on")
	waitKafka(ctx, t, s, &l)
}
