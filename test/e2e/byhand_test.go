package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// TestFlareByHand: what README tells an operator to paste works as it stands
// there. Its first block makes the keys of an agent that flares. Then age, tar and
// curl replay the flares into a stock otlp receiver, without any Lifeline program;
// and then the lifeline command does.
func TestFlareByHand(t *testing.T) {
	for _, tool := range []string{"age", "tar", "zstd", "curl", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	desk := &desk{t: t, dir: t.TempDir(), age: newestAge(t)}
	blocks := readmeBlocks(t, "## First keys, first flare")
	require.Len(t, blocks, 3)

	init := blocks[0]
	if desk.age == "" {
		init = strings.Replace(init, "lifeline init", "lifeline init --classic", 1)
	}
	desk.paste(ctx, init)
	require.NoError(t, s3.Recovery.WriteFile(filepath.Join(desk.dir, "keys", "s3-recovery")))
	makeFlares(ctx, t, s, filepath.Join(desk.dir, "keys"))
	flares := filepath.Join(desk.dir, "flares")
	require.NoError(t, os.Mkdir(flares, 0o700))
	requests := fetchFlares(t, s, flares)
	require.NotEmpty(t, requests)

	for i, block := range []string{blocks[2], blocks[1]} {
		out := newSink(t, nil)
		for second := range uint64(3) {
			out.accept(frame.Traces, spans[second])
		}
		receiver, addr := stock(t, s, "receiver.yaml", "OUT_HTTP="+out.addr)
		require.NoError(t, receiver.Start(ctx))
		at := *desk
		if i == 0 {
			at.dir = flares
		}
		at.paste(ctx, block, "KEY="+filepath.Join(desk.dir, "keys", "recovery.key"), "GATEWAY=http://"+addr)
		out.waitAll(ctx, frame.Traces)
		require.NoError(t, receiver.Stop(ctx))
	}
	opened, err := filepath.Glob(filepath.Join(desk.dir, "out", "*", "*.traces.binpb.zst"))
	require.NoError(t, err)
	byHand, err := filepath.Glob(filepath.Join(flares, "*", "*.traces.binpb.zst"))
	require.NoError(t, err)
	require.NotEmpty(t, opened)
	require.Len(t, byHand, len(opened))
	require.NoError(t, exec.CommandContext(ctx, "zstd", append([]string{"-qt"}, byHand...)...).Run()) //nolint:gosec // our own files
}

// spans are the requests of the agent that flares.
var spans = [][]byte{stack.Spans(0, time.Now()), stack.Spans(1, time.Now()), stack.Spans(2, time.Now())}

// makeFlares lets an agent with the keys in dir flare spans, and stops it.
func makeFlares(ctx context.Context, t *testing.T, s *stack.Stack, dir string) {
	t.Helper()
	down := newSink(t, unavailable)
	agent(s, down, "LIFELINE_MAX_AGE=2s", "LIFELINE_RECIPIENTS="+filepath.Join(dir, "recipients.txt"), "LIFELINE_SIGNING_KEY="+filepath.Join(dir, "agent_ed25519"))
	require.NoError(t, s.Agent.Start(ctx))
	_, err := s.Agent.P.WaitLine(ctx, "Everything is ready")
	require.NoError(t, err)
	for _, request := range spans {
		_, _, err := stack.Post(ctx, s.Addr.AgentHTTP, frame.Traces, request)
		require.NoError(t, err)
	}
	require.NoError(t, s.Agent.Stop(ctx)) // what was not flared for its age is flared now
}

// desk is where somebody pastes what the documentation says.
type desk struct {
	t   *testing.T
	dir string
	age string // a folder with an age of 1.3 or later; empty: the host's is older
}

// paste runs a block in the desk's folder.
func (d *desk) paste(ctx context.Context, block string, env ...string) {
	d.t.Helper()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", block) //nolint:gosec // our own words
	cmd.Dir = d.dir
	path := filepath.Dir(lifeline) + ":" + os.Getenv("PATH")
	if d.age != "" {
		path = d.age + ":" + path
	}
	cmd.Env = append(append(os.Environ(), "PATH="+path), env...)
	output, err := cmd.CombinedOutput()
	require.NoError(d.t, err, "%s\n%s", block, output)
}

// newestAge returns the folder of an age that knows post-quantum keys: that of
// the developer tools, or the host's.
func newestAge(t *testing.T) string {
	t.Helper()
	paths := []string{filepath.Join(configs, "..", "..", ".cache", "bin", "age")}
	if path, err := exec.LookPath("age"); err == nil {
		paths = append(paths, path)
	}
	for _, path := range paths {
		out, err := exec.CommandContext(t.Context(), path, "--version").Output() //nolint:gosec // age itself
		version := strings.TrimPrefix(strings.TrimSpace(string(out)), "v")
		if err == nil && !strings.HasPrefix(version, "1.0") && !strings.HasPrefix(version, "1.1") && !strings.HasPrefix(version, "1.2") {
			return filepath.Dir(path)
		}
	}
	return ""
}

// readmeBlocks returns the shell blocks of README from a heading to the next of
// the same level.
func readmeBlocks(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(configs, "..", "..", "README.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), heading+"\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var blocks []string
	for _, part := range strings.Split(section, "```sh\n")[1:] {
		block, _, closed := strings.Cut(part, "```")
		require.True(t, closed)
		blocks = append(blocks, block)
	}
	return blocks
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
		data, _, err := b.Get(t.Context(), o.Key, bucket.GetOptions{Limit: 64 << 20})
		require.NoError(t, err)
		files = append(files, filepath.Join(dir, filepath.Base(o.Key)))
		require.NoError(t, os.WriteFile(files[len(files)-1], data, 0o600))
	}
	return files
}
