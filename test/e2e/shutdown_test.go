package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/test/bench"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// cutOff is a stack whose agent has no gateway, and whose only way to the bucket
// is a line that can be shut.
type cutOff struct {
	*stack.Stack
	line     *proc.Throttle
	accepted audit.Ledger
	items    int64
}

// newCutOff starts the agent of the shipped config, with its ring of 64 MiB, and
// returns when it is ready to flare.
func newCutOff(ctx context.Context, t *testing.T, s *stack.Stack) *cutOff {
	t.Helper()
	const fifty = 50_000_000 / 8 // bytes per second
	c := &cutOff{Stack: s}
	var err error
	c.line, err = proc.StartThrottle(ctx, c.Guard.Addr(), fifty)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.line.Close()) })
	c.Agent.Env = append(c.Agent.Env, "LIFELINE_S3_ENDPOINT=http://"+c.line.Addr(), "LIFELINE_SCRAPE_INTERVAL=1h")
	require.NoError(t, c.Agent.Start(ctx))
	_, err = c.Agent.P.WaitLine(ctx, "Everything is ready")
	require.NoError(t, err)
	return c
}

// fill lets the agent accept spans until its ring holds the bytes.
func (c *cutOff) fill(ctx context.Context, t *testing.T, bytes float64) {
	t.Helper()
	load := bench.Load{Signal: frame.Traces, Items: 200, Noise: 1000}
	next := load.Stream(1)
	for held := 0.0; held < bytes; {
		for range 10 {
			request, err := next()
			require.NoError(t, err)
			require.NoError(t, c.accepted.Accept(frame.Traces, request))
			c.items += int64(load.Items)
			status, _, err := stack.Post(ctx, c.Addr.AgentHTTP, frame.Traces, request)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, status)
		}
		now, err := c.Agent.Scrape(ctx)
		require.NoError(t, err)
		held = now.Sum("otelcol_exporter_queue_size")
	}
}

// terminate sends SIGTERM and requires that the agent is gone as soon as a
// service manager that follows the shipped config wants it.
func (c *cutOff) terminate(ctx context.Context, t *testing.T) (took time.Duration) {
	t.Helper()
	const patience = 25 * time.Second // shutdown_timeout and 5 s
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	require.NoError(t, c.Agent.P.Stop(ctx))
	return time.Since(began)
}

// said returns what the agent logged about spans in the lines with a message.
func (c *cutOff) said(t *testing.T, message string) (lines []map[string]any) {
	t.Helper()
	for _, line := range c.Agent.P.Lines() {
		_, object, ok := strings.Cut(line, "{")
		if !ok || !strings.Contains(line, message) || !strings.Contains(line, `"signal": "traces"`) {
			continue
		}
		fields := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte("{"+object), &fields))
		lines = append(lines, fields)
	}
	return lines
}

// books returns the counts of spans with which the exporter took its leave.
func (c *cutOff) books(t *testing.T) map[string]any {
	t.Helper()
	lines := c.said(t, "The exporter has stopped.")
	require.Len(t, lines, 1)
	return lines[0]
}

// open opens every flare of the bucket and returns what stands against the
// accepted spans.
func (c *cutOff) open(t *testing.T) audit.Row {
	t.Helper()
	key, err := os.Open(c.Path("keys", "recovery.key"))
	require.NoError(t, err)
	identities, err := flare.ParseIdentities(key)
	require.NoError(t, err)
	trust, err := os.Open(c.Path("keys", "allowed_signers"))
	require.NoError(t, err)
	signers, err := flare.ParseAllowedSigners(trust)
	require.NoError(t, err)
	opener := flare.Opener{Identities: identities, Signers: signers, Audience: stack.Audience}
	for _, file := range fetchFlares(t, c.Stack, t.TempDir()) {
		data, err := os.ReadFile(file) //nolint:gosec // our own file
		require.NoError(t, err)
		opened, err := opener.Open(flare.Object{ID: strings.TrimSuffix(filepath.Base(file), ".age"), LastModified: time.Now()}, data)
		require.NoError(t, err)
		for _, f := range opened.Frames {
			raw, err := otlpcodec.Decompress(f.Stored, f.RawSize)
			require.NoError(t, err)
			require.NoError(t, c.accepted.Kafka(f.Signal, raw, f.BatchID))
		}
	}
	return c.accepted.Row(frame.Traces)
}

// usable is what frames may take of the shipped ring: its capacity less what is
// set aside for a flare.
const usable = 56 << 20

// TestSIGTERMWithAFullRing: no gateway, a tenth of a CPU and 50 Mbit/s to the
// bucket. All that was accepted is in flares when the process has ended.
func TestSIGTERMWithAFullRing(t *testing.T) {
	ctx := env.Within(t, 3*time.Minute)
	c := newCutOff(ctx, t, newStack(t))
	c.line.Shut(true) // so that the ring fills, whatever flares do
	c.fill(ctx, t, 0.9*usable)
	c.line.Shut(false)
	end, err := c.Agent.P.Limit(0.1)
	require.NoError(t, err)
	defer end()
	took := c.terminate(ctx, t)
	t.Logf("%d spans, the process ended %v after SIGTERM", c.items, took.Round(time.Millisecond))
	books := c.books(t)
	require.EqualValues(t, c.items, books["accepted"])
	require.EqualValues(t, c.items, books["flared"], "%v", books)
	row := c.open(t)
	require.Equal(t, c.items, row.Kafka, "%+v", row)
	require.True(t, row.OK(), "%+v", row)
}

// TestSIGTERMWithNoWayOut: neither gateway nor bucket. What is lost is told, to
// the last span.
func TestSIGTERMWithNoWayOut(t *testing.T) {
	ctx := env.Within(t, 2*time.Minute)
	c := newCutOff(ctx, t, newStack(t))
	c.line.Shut(true)
	c.fill(ctx, t, 20<<20)
	took := c.terminate(ctx, t)
	t.Logf("%d spans, the process ended %v after SIGTERM", c.items, took.Round(time.Millisecond))
	require.Positive(t, c.line.Refused(), "nobody tried the bucket")
	books := c.books(t)
	require.EqualValues(t, c.items, books["accepted"])
	require.EqualValues(t, c.items, books["lost"], "%v", books)
	var lost int64
	for _, line := range c.said(t, "Items are lost for good.") {
		require.Contains(t, []any{"shutdown", "flare_unknown"}, line["reason"])
		lost += int64(line["items"].(float64))
	}
	require.Equal(t, c.items, lost)
	b, err := s3bucket.New(c.S3.Config(s3.Root))
	require.NoError(t, err)
	defer b.Close()
	page, err := b.List(ctx, s3.Prefix, "")
	require.NoError(t, err)
	require.Empty(t, page.Objects)
}
