// Package kafka runs a Kafka broker inside the test's or the demo's own process:
// kfake, which speaks Kafka's protocol and keeps its data on disk. It is not
// Apache Kafka: it has one copy of everything, so it proves what we send and
// what comes back, not what a cluster does when a broker dies.
//
// A Broker owns the goroutines behind its listener; Close ends them. Its methods
// must not be called concurrently, but for Addr.
package kafka

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/test/proc"
)

// The topics that the shipped gateway config writes.
const (
	TracesTopic  = "otlp_spans"
	MetricsTopic = "otlp_metrics"
	LogsTopic    = "otlp_logs"
)

// Partitions is the number of partitions of each topic.
const Partitions = 3

// Topics returns the three topics in the order traces, metrics, logs.
func Topics() []string { return []string{TracesTopic, MetricsTopic, LogsTopic} }

// Broker is a broker with a directory and an address of its own. Both outlive
// Close, so that Restart is the same broker again.
type Broker struct {
	dir     string
	port    int
	cluster *kfake.Cluster
	dead    atomic.Bool            // see Die
	cut     atomic.Pointer[func()] // see LoseAnswer
}

// Start starts a broker that keeps its data in dir, on a free port of 127.0.0.1
// which it keeps for its whole life: nothing else gets it while the broker is down.
// The topics are there when Start returns.
func Start(dir string) (*Broker, error) {
	addrs, err := proc.FreeAddrs(1)
	if err != nil {
		return nil, err
	}
	return StartAt(dir, addrs[0])
}

// StartAt is Start on an address of 127.0.0.1.
func StartAt(dir, addr string) (*Broker, error) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("read the broker's address: %w", err)
	}
	b := &Broker{dir: dir}
	if b.port, err = strconv.Atoi(text); err != nil {
		return nil, fmt.Errorf("read the broker's address: %w", err)
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// Addr returns host:port of the broker.
func (b *Broker) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)) }

// Cluster returns the running kfake cluster, for fault injection. It changes
// with every Restart.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close stops the broker; what it acked is on disk. A second Close does nothing.
func (b *Broker) Close() {
	if b.cluster != nil {
		b.cluster.Close()
		b.cluster = nil
	}
}

// Restart stops the broker, if it runs, and starts it on the same address with
// the same data.
func (b *Broker) Restart() error {
	b.Close()
	return b.open()
}

// HighWater returns the number of records in each topic, in the order of Topics.
func (b *Broker) HighWater() [3]int64 {
	var n [3]int64
	for i, topic := range Topics() {
		for _, p := range b.cluster.PartitionInfos(topic) {
			n[i] += p.HighWatermark
		}
	}
	return n
}

// Read returns every record of every topic, from the first offset to what was
// the last one when Read was called, partition by partition.
func (b *Broker) Read(ctx context.Context) ([]*kgo.Record, error) {
	var want int64
	for _, n := range b.HighWater() {
		want += n
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(b.Addr()),
		kgo.ConsumeTopics(Topics()...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	)
	if err != nil {
		return nil, fmt.Errorf("read topics: %w", err)
	}
	defer client.Close()
	records := make([]*kgo.Record, 0, want)
	for int64(len(records)) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("read topics: %d of %d records: %w", len(records), want, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records, nil
}

// Header returns the value of the record's header name, or "".
func Header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// open starts the cluster. Every batch is synced to disk before it is acked:
// an ack means as much as one broker can make it mean.
func (b *Broker) open() error {
	b.dead.Store(false)
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.Ports(b.port), kfake.ListenFn(b.listen), kfake.DataDir(b.dir), kfake.SyncWrites(),
		kfake.SeedTopics(Partitions, Topics()...),
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return fmt.Errorf("start Kafka in %s: %w", b.dir, err)
	}
	b.cluster = cluster
	return nil
}
