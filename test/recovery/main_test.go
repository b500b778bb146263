package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
)

// What all tests share: the binary and the configs under test, as absolute paths,
// and the S3 server. Every test has a bucket of its own there.
var (
	otelcol, configs string
	store            *s3.Server
	objects          string // the folder where it keeps buckets
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "recovery:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	e, err := env.Open()
	defer func() { err = errors.Join(err, e.Close()) }()
	if err != nil {
		return 0, err
	}
	otelcol, configs = e.Otelcol, e.Configs
	objects = filepath.Join(e.Dir, "s3", "objects")
	if store, err = s3.Start(context.Background(), s3.Options{Dir: filepath.Join(e.Dir, "s3"), Versions: true}); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Stop()) }()
	return m.Run(), nil
}
