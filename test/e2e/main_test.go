// Package e2e tests the built binaries, end to end: the shipped configs, real
// processes, real sockets, an embedded Kafka and an embedded S3. Nothing here is
// faked but the OTLP servers that have to misbehave.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/env"
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

func run(m *testing.M) (code int, err error) {
	e, err := env.Open()
	defer func() { err = errors.Join(err, e.Close()) }()
	otelcol, lifeline, configs = e.Otelcol, e.Lifeline, e.Configs
	if err != nil {
		return 0, err
	}
	return m.Run(), nil
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
