package apache_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/test/apache"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/stack"
	"github.com/otel-lifeline/lifeline/test/trial"
)

// TestThreeBrokers is a cluster as it should be: three copies, two of them in
// sync before an ack.
func TestThreeBrokers(t *testing.T) {
	c, o := start(env.Within(t, 90*time.Second), t, 3)
	for _, row := range []struct {
		name  string
		limit time.Duration
		play  func(context.Context, *apache.Cluster, *trial.Trial)
	}{
		{"two are killed", 90 * time.Second, belowMinimumInSync},
		{"one fault at a time", 3 * time.Minute, oneFaultAtATime},
		{"kill", time.Minute + time.Duration(*kills)*20*time.Second, killing},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := env.Within(t, row.limit)
			require.NoError(t, c.InSync(ctx, 3))
			o.Dir = t.TempDir()
			s, err := stack.New(ctx, o)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			require.NoError(t, err)
			tr := trial.Over(t, s)
			tr.MakeTopicAgain(ctx) // what other rows have written is not this one's
			row.play(ctx, c, tr)
		})
	}
}

// belowMinimumInSync kills two brokers: the one that is left must not take a
// write alone.
func belowMinimumInSync(ctx context.Context, c *apache.Cluster, tr *trial.Trial) {
	tr.Gateway.Configs = append(tr.Gateway.Configs, trial.Soon)
	tr.Start(ctx)
	tr.WarmUp(ctx)
	tr.Run(ctx, killed(c, 1, c.Brokers[1], c.Brokers[2]))
}

// oneFaultAtATime: with the clocks of the shipped config, no fault of a single
// broker is seen by any client, whether the broker is killed, hangs, or is
// restarted in its turn.
func oneFaultAtATime(ctx context.Context, c *apache.Cluster, tr *trial.Trial) {
	t := tr.T
	tr.StartAll(ctx)
	load := tr.StartLoad(ctx)
	defer load.Stop()
	underLoad := func(fault func(leader *apache.Node)) {
		require.NoError(t, c.InSync(ctx, 3))
		require.NoError(t, load.Wait(ctx, 40))
		leader, err := c.Leader(ctx, kafka.TracesTopic)
		require.NoError(t, err)
		fault(leader)
		require.NoError(t, load.Wait(ctx, 40))
	}
	underLoad(func(leader *apache.Node) {
		require.NoError(t, leader.Kill(ctx))
		require.NoError(t, c.InSync(ctx, 2)) // nobody waits for it any more
		require.NoError(t, leader.Start())
	})
	underLoad(func(leader *apache.Node) {
		require.NoError(t, leader.P.Pause())
		require.NoError(t, c.InSync(ctx, 2))
		require.NoError(t, leader.P.Resume())
	})
	for _, n := range c.Brokers {
		underLoad(func(*apache.Node) { require.NoError(t, n.Restart(ctx)) })
	}
	load.Stop()
	require.Zero(t, load.Refused.Load(), "a client saw the fault of one broker")
	row := tr.Settle(ctx)
	t.Logf("%d requests acked and none refused; in Kafka %d records, %d of them copies", load.Acked.Load(), row.Kafka, row.Duplicates)
}

// killing kills the gateway and a broker with SIGKILL, in turn, under load. It is
// another broker each time, and the next one dies when the last one is in sync.
func killing(ctx context.Context, c *apache.Cluster, tr *trial.Trial) {
	tr.StartAll(ctx)
	next := 0
	tr.Siege(ctx, *kills, tr.GatewayVictim(), trial.Victim{
		Name: "broker",
		Kill: func(ctx context.Context) error {
			next++
			return c.Brokers[next%3].Kill(ctx)
		},
		Revive: func(ctx context.Context) error {
			if err := c.Brokers[next%3].Start(); err != nil {
				return err
			}
			return c.InSync(ctx, 3)
		},
	})
}
