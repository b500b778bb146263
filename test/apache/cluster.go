// Package apache runs Apache Kafka from its jars, without Docker: the real
// broker, for what an embedded one can only pretend. Java is needed, and the jars
// that `make test-kafka` fetches.
//
// A Cluster owns the processes of its nodes until Close; on Linux they die with
// the process that started them. It must not be used concurrently.
package apache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
)

// Cluster is a running Kafka: one node that does all, or a controller and three
// brokers with three copies of everything, of which two must be in sync.
type Cluster struct {
	Brokers []*Node

	controller *Node // nil: the one broker is its own
	replicas   int16
	client     *kgo.Client
	admin      *kadm.Client
}

// Start starts a cluster of one or three brokers below dir, with the jars and
// caches in home, and makes the topics of the shipped gateway config. Close must
// be called on the Cluster, also after an error.
func Start(ctx context.Context, home, dir string, brokers int) (*Cluster, error) {
	c := &Cluster{replicas: int16(brokers)} //nolint:gosec // one or three
	addrs, err := proc.FreeAddrs(brokers + 1)
	if err != nil {
		return c, err
	}
	dist, err := prepare(ctx, home)
	if err != nil {
		return c, err
	}
	setup := setup{dist: dist, dir: dir, voter: addrs[brokers], replicas: brokers}
	if brokers > 1 {
		if c.controller, err = setup.start("c", 100, "controller", ""); err != nil {
			return c, err
		}
	} else {
		setup.combined = true
	}
	var seeds []string
	for i := range brokers {
		b, err := setup.start(fmt.Sprintf("b%d", i+1), i+1, "broker", addrs[i])
		if err != nil {
			return c, err
		}
		c.Brokers, seeds = append(c.Brokers, b), append(seeds, addrs[i])
	}
	// The age makes every question about replicas a new one.
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50*time.Millisecond)); err != nil {
		return c, err
	}
	c.admin = kadm.NewClient(c.client)
	return c, c.makeTopics(ctx)
}

// Addr returns host:port of every broker, separated by commas.
func (c *Cluster) Addr() string {
	var addrs []string
	for _, b := range c.Brokers {
		addrs = append(addrs, b.Addr)
	}
	return strings.Join(addrs, ",")
}

// Close kills all nodes.
func (c *Cluster) Close() error {
	if c.client != nil {
		c.client.Close()
	}
	var err error
	for _, n := range append(c.Brokers, c.controller) {
		if n != nil {
			err = errors.Join(err, n.close())
		}
	}
	return err
}

func (c *Cluster) makeTopics(ctx context.Context) error {
	if err := c.registered(ctx); err != nil {
		return err
	}
	for _, topic := range kafka.Topics() {
		if _, err := c.admin.CreateTopic(ctx, kafka.Partitions, c.replicas, nil, topic); err != nil {
			return fmt.Errorf("make the topic %s: %w", topic, err)
		}
	}
	return c.InSync(ctx, len(c.Brokers))
}

// registered waits until the cluster knows all its brokers. The question goes
// out as it is: the admin client answers from what it remembers.
func (c *Cluster) registered(ctx context.Context) error {
	known := 0
	err := proc.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		for _, b := range c.Brokers {
			if err := b.alive(); err != nil {
				return false, err
			}
		}
		ask := kmsg.NewPtrMetadataRequest()
		ask.Topics = []kmsg.MetadataRequestTopic{}
		answer, err := ask.RequestWith(ctx, c.client)
		if err != nil {
			return false, nil //nolint:nilerr // not ready yet
		}
		known = len(answer.Brokers)
		return known == len(c.Brokers), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %d brokers of which %d are there: %w", len(c.Brokers), known, err)
	}
	return nil
}

// InSync waits until every partition of every topic has n replicas in sync and
// a leader.
func (c *Cluster) InSync(ctx context.Context, n int) error {
	var last string
	err := proc.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		topics, err := c.admin.ListTopics(ctx, kafka.Topics()...)
		if err != nil {
			return false, nil //nolint:nilerr // not ready yet
		}
		for _, topic := range topics.Sorted() {
			for _, p := range topic.Partitions.Sorted() {
				if len(p.ISR) != n || p.Leader < 0 {
					last = fmt.Sprintf("%s/%d: leader %d, in sync %v", topic.Topic, p.Partition, p.Leader, p.ISR)
					return false, nil
				}
			}
		}
		return len(topics) == len(kafka.Topics()), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %d replicas in sync: %s: %w", n, last, err)
	}
	return nil
}

// Leader returns the broker that leads the first partition of a topic.
func (c *Cluster) Leader(ctx context.Context, topic string) (*Node, error) {
	topics, err := c.admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	leader := topics[topic].Partitions[0].Leader
	if leader < 1 || int(leader) > len(c.Brokers) {
		return nil, fmt.Errorf("%s has no leader", topic)
	}
	return c.Brokers[leader-1], nil
}

// reachable reports whether somebody listens.
func reachable(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func path(parts ...string) string { return filepath.Join(parts...) }
