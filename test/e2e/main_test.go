// Package e2e tests the built binaries, end to end: the shipped configs, real
// processes, real sockets, an embedded Kafka and an embedded S3. Nothing here is
// faked but the OTLP servers that have to misbehave.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/stack"
)

// The binaries and the configs under test, as absolute paths.
var otelcol, lifeline, configs string

func TestMain(m *testing.M) {
	if os.Getenv(brokerDir) != "" {
		fmt.Fprintln(os.Stderr, "broker:", runBroker())
		os.Exit(1)
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// run takes the binaries that OTELCOL and LIFELINE name, or builds them, so that
// a plain `go test` never tests old ones.
func run(m *testing.M) (int, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return 0, err
	}
	configs = filepath.Join(root, "testdata", "configs")
	otelcol, lifeline = os.Getenv("OTELCOL"), os.Getenv("LIFELINE")
	if otelcol == "" || lifeline == "" {
		dir, err := os.MkdirTemp("", "lifeline-e2e-")
		if err != nil {
			return 0, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir+"/", "./cmd/otelcol-lifeline", "./cmd/lifeline") //nolint:gosec // our own paths
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build the binaries: %w\n%s", err, out)
		}
		otelcol, lifeline = filepath.Join(dir, "otelcol-lifeline"), filepath.Join(dir, "lifeline")
	}
	return m.Run(), nil
}

// within bounds a test; what it waits for has to happen in that time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// newStack starts Kafka and S3 and describes the collectors. One stack runs at
// a time: the S3 server has globals.
func newStack(t *testing.T) *stack.Stack {
	t.Helper()
	s, err := stack.New(t.Context(), stack.Options{Otelcol: otelcol, Lifeline: lifeline, Configs: configs, Dir: t.TempDir()})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, err)
	return s
}

// testdata returns the absolute path of a file of this package.
func testdata(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(configs, "..", "..", "test", "e2e", "testdata", name)
}

// quickly makes an agent probe a gateway that answers wrongly every half second
// instead of every 30 s.
const quickly = "yaml:exporters::lifeline::retry_on_failure: {initial_interval: 100ms, max_interval: 500ms}"
