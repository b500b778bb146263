package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
	"github.com/otel-lifeline/lifeline/test/trial"
)

// refuses makes the broker answer every write with an error.
func refuses(answer *kerr.Error) trial.Fault {
	var fault *kfake.FaultHandle
	return trial.Fault{
		Break: func(_ context.Context, tr *trial.Trial) func(context.Context) error {
			fault = tr.Kafka.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: answer, Count: -1})
			return func(ctx context.Context) error { return fault.Wait(ctx, 1) }
		},
		Heal: func(context.Context, *trial.Trial) { fault.Remove() },
	}
}

// dies kills the broker with a write, and starts it again with its data.
func dies(when kafka.When) trial.Fault {
	return trial.Fault{
		Break: func(_ context.Context, tr *trial.Trial) func(context.Context) error {
			died := tr.Kafka.Die(when)
			return func(ctx context.Context) error { return closed(ctx, died) }
		},
		Heal: func(_ context.Context, tr *trial.Trial) { restart(tr) },
	}
}

func restart(tr *trial.Trial) { require.NoError(tr.T, tr.Kafka.Restart()) }

func closed(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hangs stops the broker in the middle of a write, as a paused process stops.
func hangs() trial.Fault {
	var resume func()
	return trial.Fault{
		Break: func(_ context.Context, tr *trial.Trial) func(context.Context) error {
			var hung <-chan struct{}
			hung, resume = tr.Kafka.Hang()
			tr.T.Cleanup(resume)
			return func(ctx context.Context) error { return closed(ctx, hung) }
		},
		Heal: func(context.Context, *trial.Trial) { resume() },
	}
}

// away is a broker that nobody reaches, until it starts again with its data.
func away() trial.Fault {
	return trial.Fault{
		Break: func(_ context.Context, tr *trial.Trial) func(context.Context) error {
			tr.Kafka.Close()
			return nil
		},
		Heal: func(_ context.Context, tr *trial.Trial) { restart(tr) },
	}
}

// tooLargeForTheClient is a gateway with a limit on records that nothing fits, which
// ack_guard would not let start.
func tooLargeForTheClient() trial.Fault {
	return trial.Fault{
		Break: func(ctx context.Context, tr *trial.Trial) func(context.Context) error {
			tr.RestartGateway(ctx, trial.Soon, "yaml:extensions::ack_guard::mode: warn", "yaml:exporters::kafka::producer::max_message_bytes: 1024")
			return func(ctx context.Context) error {
				_, err := tr.Gateway.P.WaitLine(ctx, "The broker refuses a batch as too large", "MESSAGE_TOO_LARGE")
				return err
			}
		},
		Heal: func(ctx context.Context, tr *trial.Trial) { tr.RestartGateway(ctx, trial.Soon) },
	}
}

// TestAnswerTable: whatever Kafka does to a write, clients of both protocols are
// asked to come again, nobody is told that its data is bad, and when the fault
// has healed all of it is in Kafka.
func TestAnswerTable(t *testing.T) {
	for name, fault := range map[string]trial.Fault{
		"not enough replicas":       refuses(kerr.NotEnoughReplicas),
		"not leader":                refuses(kerr.NotLeaderForPartition),
		"no right to write":         refuses(kerr.TopicAuthorizationFailed),
		"too large for the client":  tooLargeForTheClient(),
		"too large for the broker":  trial.TooLargeForTheBroker(),
		"no such topic":             trial.NoSuchTopic(),
		"topic deleted and made":    trial.TopicMadeAgain(),
		"hangs":                     hangs(),
		"killed before the write":   dies(kafka.BeforeWrite),
		"killed after the write":    dies(kafka.AfterWrite),
		"stopped and started again": away(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := env.Within(t, 60*time.Second)
			tr := trial.New(t, stack.Options{Otelcol: otelcol, Configs: configs}, trial.Soon)
			tr.Start(ctx)
			tr.WarmUp(ctx)
			tr.Run(ctx, fault)
		})
	}
}

// TestNotReadyWithoutAnEnd: a gateway that can never write to a topic again stops
// being ready, for whoever asks its health check as docs/OPERATIONS.md says.
func TestNotReadyWithoutAnEnd(t *testing.T) {
	ctx := env.Within(t, 60*time.Second)
	tr := trial.New(t, stack.Options{Otelcol: otelcol, Configs: configs}, trial.Soon,
		"yaml:extensions::health_check::component_health: {include_permanent_errors: true, include_recoverable_errors: true}")
	require.NoError(t, tr.Gateway.Launch("--feature-gates=+extension.healthcheck.useComponentStatus"))
	require.NoError(t, tr.Gateway.P.Healthy(ctx, "http://"+tr.Gateway.Health))
	tr.WarmUp(ctx)
	met := trial.TopicMadeAgain().Break(ctx, tr)
	tr.Both(ctx, [2][]byte{tr.Request(1), tr.Request(1)})
	require.NoError(t, met(ctx))
	require.NoError(t, proc.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+tr.Gateway.Health, http.NoBody)
		if err != nil {
			return false, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false, err
		}
		return resp.StatusCode >= http.StatusInternalServerError, resp.Body.Close()
	}))
}
