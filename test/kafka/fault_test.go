package kafka

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A broker that dies says nothing more to anybody; what it had written is there
// when it is back, and nothing else is.
func TestDie(t *testing.T) {
	for when, want := range map[When]int64{BeforeWrite: 0, AfterWrite: 1} {
		b, err := Start(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(b.Close)
		died := b.Die(when)
		ctx, cancel := context.WithCancel(t.Context())
		var dying sync.WaitGroup
		dying.Go(func() { <-died; cancel() }) // there will be no answer
		require.Error(t, produceOnce(ctx, t, b, "the last", time.Minute))
		dying.Wait()
		require.Error(t, produceOnce(t.Context(), t, b, "too late", time.Second))
		require.NoError(t, b.Restart())
		require.Equal(t, [3]int64{0, 0, want}, b.HighWater())
		require.NoError(t, produce(t, b, LogsTopic, "again"))
	}
}

// produceOnce produces without idempotence: with it, the client would wait for
// the broker for ever.
func produceOnce(ctx context.Context, t *testing.T, b *Broker, value string, patience time.Duration) error {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(0),
		kgo.RecordDeliveryTimeout(patience))
	require.NoError(t, err)
	defer c.Close()
	return c.ProduceSync(ctx, &kgo.Record{Topic: LogsTopic, Value: []byte(value)}).FirstErr()
}

func TestHang(t *testing.T) {
	b, err := Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(b.Close)
	hung, resume := b.Hang()
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	require.NoError(t, err)
	defer c.Close()
	done := make(chan error, 1)
	c.Produce(t.Context(), &kgo.Record{Topic: LogsTopic, Value: []byte("waits")}, func(_ *kgo.Record, err error) { done <- err })
	<-hung
	require.Empty(t, done)
	resume()
	require.NoError(t, <-done)
}
