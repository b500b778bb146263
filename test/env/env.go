// Package env is what tests of the built programs stand on: the programs, the
// shipped configs, and a bound on their time.
package env

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Env says where things are, as absolute paths.
type Env struct {
	Otelcol  string // the otelcol-lifeline binary
	Lifeline string // the lifeline command
	Configs  string // the directory of the shipped configs
	Dir      string // an empty directory, until Close
}

// Open takes the programs that OTELCOL and LIFELINE name and builds those that
// are not named, so that a plain `go test` never tests old ones. It is called from
// the folder of a package of test/. Close must be called, also after an error.
func Open() (*Env, error) {
	e := &Env{Otelcol: os.Getenv("OTELCOL"), Lifeline: os.Getenv("LIFELINE")}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return e, err
	}
	e.Configs = filepath.Join(root, "testdata", "configs")
	if e.Dir, err = os.MkdirTemp("", "lifeline-test-"); err != nil {
		return e, err
	}
	for name, path := range map[string]*string{"otelcol-lifeline": &e.Otelcol, "lifeline": &e.Lifeline} {
		if *path != "" {
			continue
		}
		*path = filepath.Join(e.Dir, name)
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", *path, "./cmd/"+name) //nolint:gosec // our own paths
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return e, fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
	}
	return e, nil
}

// Close removes what Open made.
func (e *Env) Close() error { return os.RemoveAll(e.Dir) }

// patience is what a busy machine may need where a quiet one needs less: no test is
// about that, and one that hangs is seen all the same.
const patience = 5 * time.Minute

// Within bounds a test; what it waits for has to happen in that time, four times over
// on a machine that is busy.
func Within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), max(d, min(4*d, patience)))
	t.Cleanup(cancel)
	return ctx
}
