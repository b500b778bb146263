package trial

import (
	"context"
	"strings"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/test/kafka"
)

// The faults of this file are made through Kafka's protocol: they are the same on
// any broker.

// admin calls f with a client that may do everything.
func (tr *Trial) admin(f func(*kadm.Client) error) {
	tr.T.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(tr.Brokers, ",")...))
	require.NoError(tr.T, err)
	defer client.Close()
	require.NoError(tr.T, f(kadm.NewClient(client)))
}

// TooLargeForTheBroker is a topic whose limit is below that of the gateway: the
// broker refuses every batch, whoever's records are in it.
func TooLargeForTheBroker() Fault {
	small, usual := "200", "1048588"
	return Fault{
		Break: func(ctx context.Context, tr *Trial) func(context.Context) error {
			tr.deleteTopic(ctx)
			tr.makeTopic(ctx, map[string]*string{"max.message.bytes": &small}) // a change would take its time
			tr.RestartGateway(ctx, Soon)
			return func(ctx context.Context) error {
				_, err := tr.Gateway.P.WaitLine(ctx, "The broker refuses a batch as too large", "compressed_bytes", kafka.TracesTopic)
				return err
			}
		},
		Heal: func(ctx context.Context, tr *Trial) {
			tr.admin(func(c *kadm.Client) error {
				set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &usual}}
				answers, err := c.AlterTopicConfigs(ctx, set, kafka.TracesTopic)
				if err != nil {
					return err
				}
				return answers[0].Err
			})
		},
	}
}

// NoSuchTopic is a topic that nobody has made yet, for a gateway that has just
// started.
func NoSuchTopic() Fault {
	return Fault{
		Break: func(ctx context.Context, tr *Trial) func(context.Context) error {
			tr.deleteTopic(ctx)
			tr.RestartGateway(ctx, Soon)
			return nil
		},
		Heal: func(ctx context.Context, tr *Trial) { tr.makeTopic(ctx, nil) },
	}
}

// TopicMadeAgain is a topic that was deleted and made again behind the gateway's
// back. Kafka's client never recovers from that: the gateway says so, and heals
// with a restart.
func TopicMadeAgain() Fault {
	return Fault{
		Break: func(ctx context.Context, tr *Trial) func(context.Context) error {
			tr.MakeTopicAgain(ctx)
			return func(ctx context.Context) error {
				_, err := tr.Gateway.P.WaitLine(ctx, "The topic was deleted and made again", "restart", kafka.TracesTopic)
				return err
			}
		},
		Heal: func(ctx context.Context, tr *Trial) { tr.RestartGateway(ctx, Soon) },
	}
}

// MakeTopicAgain deletes the topic of traces and makes it again, empty.
func (tr *Trial) MakeTopicAgain(ctx context.Context) {
	tr.deleteTopic(ctx)
	tr.makeTopic(ctx, nil)
}

// deleteTopic deletes the topic of traces with all it holds.
func (tr *Trial) deleteTopic(ctx context.Context) {
	tr.admin(func(c *kadm.Client) error {
		_, err := c.DeleteTopic(ctx, kafka.TracesTopic)
		return err
	})
	tr.Forget()
}

func (tr *Trial) makeTopic(ctx context.Context, configs map[string]*string) {
	tr.admin(func(c *kadm.Client) error {
		_, err := c.CreateTopic(ctx, kafka.Partitions, -1, configs, kafka.TracesTopic)
		return err
	})
}
