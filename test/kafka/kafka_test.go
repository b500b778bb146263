package kafka

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func produce(t *testing.T, b *Broker, topic, value string) error {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.RecordRetries(0))
	require.NoError(t, err)
	defer c.Close()
	r := &kgo.Record{Topic: topic, Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte(topic)}}}
	return c.ProduceSync(t.Context(), r).FirstErr()
}

func TestRestartKeepsAddressAndData(t *testing.T) {
	b, err := Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(b.Close)
	addr := b.Addr()
	for _, topic := range Topics() {
		require.NoError(t, produce(t, b, topic, "before "+topic))
	}

	require.NoError(t, b.Restart())
	require.Equal(t, addr, b.Addr())
	require.NoError(t, produce(t, b, LogsTopic, "after"))
	require.Equal(t, [3]int64{1, 1, 2}, b.HighWater())

	records, err := b.Read(t.Context())
	require.NoError(t, err)
	got := map[string]string{}
	for _, r := range records {
		got[string(r.Value)] = Header(r, "h")
	}
	require.Equal(t, map[string]string{
		"before otlp_spans": "otlp_spans", "before otlp_metrics": "otlp_metrics",
		"before otlp_logs": "otlp_logs", "after": "otlp_logs",
	}, got)
}

func TestReadOfEmptyTopicsReturns(t *testing.T) {
	b, err := Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(b.Close)
	records, err := b.Read(t.Context())
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestFaultsReachTheClient(t *testing.T) {
	b, err := Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(b.Close)
	fault := b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.PolicyViolation, Count: 1})
	require.ErrorIs(t, produce(t, b, LogsTopic, "refused"), kerr.PolicyViolation)
	require.Equal(t, int64(1), int64(fault.Hits()))
	require.NoError(t, produce(t, b, LogsTopic, "taken"))
}
