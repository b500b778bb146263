package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/demo"
	"github.com/otel-lifeline/lifeline/test/env"
)

// TestThread plays the demo with shorter times: a gateway killed, data that
// expires, flares, recovery, an agent stopped in an outage, recovery again. The
// demo judges itself: every accepted record in Kafka, unaltered, and at least
// one flare of either kind.
func TestThread(t *testing.T) {
	err := demo.Run(env.Within(t, 2*time.Minute), demo.Options{
		Otelcol: otelcol, Lifeline: lifeline, Configs: configs, Out: t.Output(),
		Times: demo.Times{Steady: 2 * time.Second, MaxAge: 5 * time.Second, Shutdown: 20 * time.Second, Poll: time.Second},
	})
	require.NoError(t, err)
}
