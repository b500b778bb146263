// Package apache_test proves against Apache Kafka what the embedded broker can
// not show: what a cluster does to a write when its brokers die.
package apache_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/apache"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// The jars, the binaries and the configs under test, as absolute paths.
var home, otelcol, lifeline, configs = os.Getenv("KAFKA_HOME"), os.Getenv("OTELCOL"), os.Getenv("LIFELINE"), ""

var kills = flag.Int("kills", 20, "how often the gateway and a broker are killed")

func TestMain(m *testing.M) {
	var err error
	flag.Parse()
	configs, err = filepath.Abs(filepath.Join("..", "..", "testdata", "configs"))
	if err != nil || home == "" || otelcol == "" || lifeline == "" {
		fmt.Fprintln(os.Stderr, "these tests need Java, Kafka's jars and the binaries: run make test-kafka", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// start starts a cluster that ends with the test.
func start(ctx context.Context, t *testing.T, brokers int) (*apache.Cluster, stack.Options) {
	t.Helper()
	c, err := apache.Start(ctx, home, t.TempDir(), brokers)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, err)
	return c, stack.Options{Otelcol: otelcol, Lifeline: lifeline, Configs: configs, Dir: t.TempDir(), Brokers: c.Addr()}
}
