package kafka

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Await reads a topic of the brokers into the ledger, from its beginning until
// no accepted record of the signal is missing, and then to its end as it is at
// that moment, so that copies are seen too. It returns the comparison; with an
// error, as far as it got.
func Await(ctx context.Context, brokers string, s frame.Signal, l *audit.Ledger) (audit.Row, error) {
	topic := Topics()[s]
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return l.Row(s), fmt.Errorf("read %s: %w", topic, err)
	}
	defer client.Close()
	next := map[int32]int64{} // by partition
	for l.Row(s).Lost > 0 {
		if err := poll(ctx, client, s, l, next); err != nil {
			return l.Row(s), err
		}
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err != nil {
		return l.Row(s), fmt.Errorf("ask for the end of %s: %w", topic, err)
	}
	for _, end := range ends.Offsets()[topic] {
		for next[end.Partition] < end.At {
			if err := poll(ctx, client, s, l, next); err != nil {
				return l.Row(s), err
			}
		}
	}
	return l.Row(s), nil
}

func poll(ctx context.Context, client *kgo.Client, s frame.Signal, l *audit.Ledger, next map[int32]int64) error {
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		return fmt.Errorf("read %s: %+v: %w", s, l.Row(s), err)
	}
	for _, r := range slices.Collect(fetches.RecordsAll()) {
		next[r.Partition] = r.Offset + 1
		if err := l.Kafka(s, r.Value, batchID(r)); err != nil {
			return fmt.Errorf("%s, partition %d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		}
	}
	return nil
}

// batchID returns what a consumer drops copies by: the batch id of a Lifeline
// agent, or the one that the gateway made of the bytes of anybody else.
func batchID(r *kgo.Record) frame.BatchID {
	id := strings.TrimPrefix(Header(r, frame.HeaderBatchID), "h:")
	parsed, _ := frame.ParseBatchID(id)
	return parsed
}
