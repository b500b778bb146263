package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/otel-lifeline/lifeline/test/s3"
)

// What all tests share: the binary and the config under test, as absolute paths,
// and the S3 server. Every test has a bucket of its own there.
var (
	otelcol, config string
	store           *s3.Server
	objects         string // the folder where it keeps buckets
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "recovery:", err)
		code = 1
	}
	os.Exit(code)
}

// run takes the binary that OTELCOL names, or builds it, so that a plain
// `go test` never tests an old one.
func run(m *testing.M) (code int, err error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "lifeline-recovery-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	config = filepath.Join(root, "testdata", "configs", "recovery.yaml")
	if otelcol = os.Getenv("OTELCOL"); otelcol == "" {
		otelcol = filepath.Join(dir, "otelcol-lifeline")
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", otelcol, "./cmd/otelcol-lifeline") //nolint:gosec // our own paths
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build the binary: %w\n%s", err, out)
		}
	}
	objects = filepath.Join(dir, "s3", "objects")
	if store, err = s3.Start(context.Background(), s3.Options{Dir: filepath.Join(dir, "s3")}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Stop()) }()
	return m.Run(), nil
}

// within bounds a test; what it waits for has to happen in that time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
