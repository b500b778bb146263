package demo

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/kafka"
)

// acceptFile adds a file of the file exporter (format: proto) to the accepted:
// export requests, each behind its length in four bytes.
func acceptFile(l *audit.Ledger, s frame.Signal, path string) error {
	f, err := os.Open(path) //nolint:gosec // the demo's own file
	if err != nil {
		return fmt.Errorf("open what the agent accepted: %w", err)
	}
	defer func() { _ = f.Close() }()
	for r := bufio.NewReader(f); ; {
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		request := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(r, request); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
		if err := l.Accept(s, request); err != nil {
			return fmt.Errorf("read %s: %w", path, err)
		}
	}
}

// addKafka adds records of the three topics to what Kafka holds.
func addKafka(l *audit.Ledger, records []*kgo.Record) error {
	signals := map[string]frame.Signal{kafka.TracesTopic: frame.Traces, kafka.MetricsTopic: frame.Metrics, kafka.LogsTopic: frame.Logs}
	for _, r := range records {
		id, _ := frame.ParseBatchID(kafka.Header(r, frame.HeaderBatchID))
		if err := l.Kafka(signals[r.Topic], r.Value, id); err != nil {
			return fmt.Errorf("%s, partition %d, offset %d: %w", r.Topic, r.Partition, r.Offset, err)
		}
	}
	return nil
}
