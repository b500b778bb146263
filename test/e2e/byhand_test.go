package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// byHand is what the documentation tells an operator to type.
const byHand = `set -eo pipefail
age -d -i "$KEY" "$FLARE" | tar t | grep -x manifest.json
age -d -i "$KEY" "$FLARE" | tar x
for f in *.traces.binpb.zst; do
  zstd -t "$f"
  curl -fsS --data-binary @"$f" -H 'Content-Encoding: zstd' -H 'Content-Type: application/x-protobuf' "$GATEWAY/v1/traces"
done`

// TestFlareByHand: age, tar and curl open a flare and replay it into a stock otlp
// receiver. No Lifeline program takes part after the flare was made.
func TestFlareByHand(t *testing.T) {
	for _, tool := range []string{"age", "tar", "zstd", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	s := newStack(t)
	ctx := within(t, 60*time.Second)
	out := newSink(t, nil)
	receiver, addr := stock(t, s, "receiver.yaml", "OUT_HTTP="+out.addr)
	require.NoError(t, receiver.Start(ctx))
	down := newSink(t, unavailable)
	agent(s, down, "LIFELINE_MAX_AGE=2s")
	require.NoError(t, s.Agent.Start(ctx))
	_, err := s.Agent.P.WaitLine(ctx, "Everything is ready")
	require.NoError(t, err)
	for i := range uint64(3) {
		request := stack.Spans(i, time.Now())
		out.accept(frame.Traces, request)
		_, _, err := stack.Post(ctx, s.Addr.AgentHTTP, frame.Traces, request)
		require.NoError(t, err)
	}
	require.NoError(t, s.Agent.Stop(ctx)) // what was not flared for its age is flared now

	for _, file := range fetchFlares(t, s, t.TempDir()) {
		cmd := exec.CommandContext(ctx, "bash", "-c", byHand)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "KEY="+s.Path("keys", "recovery.key"), "FLARE="+file, "GATEWAY=http://"+addr)
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, string(output))
	}
	out.waitAll(ctx, frame.Traces)
}

// fetchFlares copies all flares of the bucket to files and returns their paths.
func fetchFlares(t *testing.T, s *stack.Stack, dir string) []string {
	t.Helper()
	b, err := s3bucket.New(s.S3.Config(s3.Root))
	require.NoError(t, err)
	defer b.Close()
	page, err := b.List(t.Context(), s3.Prefix, "")
	require.NoError(t, err)
	require.NotEmpty(t, page.Objects)
	var files []string
	for _, o := range page.Objects {
		data, _, err := b.Get(t.Context(), o.Key, 64<<20)
		require.NoError(t, err)
		files = append(files, filepath.Join(dir, filepath.Base(o.Key)))
		require.NoError(t, os.WriteFile(files[len(files)-1], data, 0o600))
	}
	return files
}
