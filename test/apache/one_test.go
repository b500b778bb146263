package apache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/apache"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/trial"
)

// killed kills brokers with SIGKILL and starts them again with their data. It
// waits until the others have noticed: inSync replicas are left.
func killed(c *apache.Cluster, inSync int, nodes ...*apache.Node) trial.Fault {
	return trial.Fault{
		Break: func(ctx context.Context, tr *trial.Trial) func(context.Context) error {
			for _, n := range nodes {
				require.NoError(tr.T, n.Kill(ctx))
			}
			if inSync > 0 {
				require.NoError(tr.T, c.InSync(ctx, inSync))
			}
			return nil
		},
		Heal: func(_ context.Context, tr *trial.Trial) {
			for _, n := range nodes {
				require.NoError(tr.T, n.Start())
			}
		},
	}
}

// paused stops a broker with SIGSTOP in the middle of what it does.
func paused(n *apache.Node) trial.Fault {
	return trial.Fault{
		Break: func(_ context.Context, tr *trial.Trial) func(context.Context) error {
			require.NoError(tr.T, n.P.Pause())
			return nil
		},
		Heal: func(_ context.Context, tr *trial.Trial) { require.NoError(tr.T, n.P.Resume()) },
	}
}

// TestAnswersOfOneBroker is the part of the table of answers that a broker makes
// by itself, one fault after the other on one Kafka.
func TestAnswersOfOneBroker(t *testing.T) {
	ctx := env.Within(t, 150*time.Second)
	c, o := start(ctx, t, 1)
	for _, row := range []struct {
		name  string
		fault trial.Fault
	}{
		{"killed", killed(c, 0, c.Brokers[0])},
		{"paused", paused(c.Brokers[0])},
		{"too large for the broker", trial.TooLargeForTheBroker()},
		{"no such topic", trial.NoSuchTopic()},
		{"topic deleted and made", trial.TopicMadeAgain()},
	} {
		t.Run(row.name, func(t *testing.T) {
			tr := trial.New(t, o, trial.Soon)
			tr.MakeTopicAgain(ctx) // what other rows have written is not this one's
			tr.Start(ctx)
			tr.WarmUp(ctx)
			tr.Run(ctx, row.fault)
		})
	}
}
