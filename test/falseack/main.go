// Command falseack produces what it reads, a record per line, as the Collector's
// kafka exporter does, with the Kafka client that the exporter asks for by itself.
// It says of each record whether it was acked. It is a module of its own, because
// everything else here must never be built with that client.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// timeout is the exporter's: how long a record may take.
const timeout = 2 * time.Second

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(broker, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic(topic), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(10*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		err := client.ProduceSync(ctx, &kgo.Record{Value: []byte(lines.Text())}).FirstErr()
		cancel()
		if err != nil {
			fmt.Println("failed", lines.Text(), err)
			continue
		}
		fmt.Println("acked", lines.Text())
	}
	return lines.Err()
}
