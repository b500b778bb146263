package ackrules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/configkafka"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver"
)

const (
	// recordOverhead is room for the key, the headers and the frame of a record
	// beside its value.
	recordOverhead = 16 * bytesize.KiB

	raw       = "raw"                 // the Kafka exporter's encoding for bytes as they came
	batchRoot = "lifeline-batch-root" // the same for all parts and repeats of a batch
)

// copied are the metadata keys that must become Kafka headers. Without the id
// nobody can tell a repeated batch; without the part every part but the first
// looks like one; the others say whose data it is and whether some is missing.
var copied = []string{"lifeline-batch-id", "lifeline-part", "lifeline-frame", "lifeline-agent", "lifeline-flare-id"}

// report collects lines under the name of one component.
type report struct {
	at    string // such as exporters::kafka
	lines []string
}

func (r *report) refuse(wrong bool, text string, args ...any) {
	if wrong {
		r.lines = append(r.lines, r.at+"::"+fmt.Sprintf(text, args...))
	}
}

func receiverFaults(id component.ID, cfg *lifelinereceiver.Config) []string {
	r := &report{at: "receivers::" + id.String()}
	if http := cfg.Protocols.HTTP.Get(); http != nil {
		r.refuse(http.WriteTimeout > 0 && http.WriteTimeout <= cfg.AckTimeout,
			"protocols::http::write_timeout: %s cuts off the answer that ack_timeout (%s) is to give: leave it out", http.WriteTimeout, cfg.AckTimeout)
	}
	return r.lines
}

// kafkaFaults returns what is wrong with an exporter for data of a receiver that
// comes to it as signal.
func kafkaFaults(way *route, id component.ID, cfg *kafkaexporter.Config, signal pipeline.Signal) []string {
	r := &report{at: "exporters::" + id.String()}
	r.refuse(cfg.QueueBatchConfig.HasValue(),
		"sending_queue: it is on (by default, too), so an ack comes before Kafka has the data: set sending_queue: {enabled: false}")
	r.refuse(cfg.BackOffConfig.Enabled,
		"retry_on_failure: it is on (by default, too), and would write again what the client sends again: set retry_on_failure: {enabled: false}")
	r.refuse(cfg.Producer.RequiredAcks != configkafka.WaitForAll,
		"producer::required_acks: %d is success before the replicas have the data: set it to all", cfg.Producer.RequiredAcks)
	r.refuse(cfg.Producer.AllowAutoTopicCreation,
		"producer::allow_auto_topic_creation: it is on (by default, too), and a topic made by accident may have one replica: set it to false and create the topics")
	r.refuse(cfg.TimeoutSettings.Timeout < way.cfg.AckTimeout,
		"timeout: %s is shorter than the ack_timeout of receivers::%s (%s), so a write is given up while the client still waits: set timeout: 30s or more", cfg.TimeoutSettings.Timeout, way.receiver, way.cfg.AckTimeout)
	missing := slices.DeleteFunc(slices.Clone(copied), func(key string) bool { return slices.Contains(cfg.IncludeMetadataKeys, key) })
	r.refuse(len(missing) > 0,
		"include_metadata_keys: without %s as Kafka headers nobody can tell repeated data from new: add what is missing", strings.Join(missing, ", "))
	if way.cfg.Passthrough.Enabled {
		passthroughFaults(r, way, cfg)
	} else {
		r.refuse(signal == pipeline.SignalLogs && cfg.Logs.Encoding == raw,
			"logs::encoding: raw writes the body of a log record alone, and receivers::%s has passthrough off: leave encoding out, or set passthrough::enabled to true", way.receiver)
	}
	return r.lines
}

// passthroughFaults adds what is wrong for whole requests as log records.
func passthroughFaults(r *report, way *route, cfg *kafkaexporter.Config) {
	r.refuse(cfg.Logs.Encoding != raw,
		"logs::encoding: %s wraps the requests that receivers::%s passes through into one more, and no consumer can read them: set it to raw", cfg.Logs.Encoding, way.receiver)
	largest := way.cfg.Passthrough.MaxMessageBytes
	r.refuse(int64(cfg.Producer.MaxMessageBytes) < int64(largest+recordOverhead),
		"producer::max_message_bytes: %d leaves no room for a record of passthrough::max_message_bytes of receivers::%s (%s) and its headers (%s): raise it to %d, or lower the other",
		cfg.Producer.MaxMessageBytes, way.receiver, largest, recordOverhead, int64(largest+recordOverhead))
	r.refuse(cfg.Logs.TopicFromMetadataKey != "",
		"logs::topic_from_metadata_key: it goes before the topics of receivers::%s::passthrough: leave it out", way.receiver)
	r.refuse(cfg.TopicFromAttribute != "",
		"topic_from_attribute: it goes before the topics of receivers::%s::passthrough: leave it out", way.receiver)
	r.refuse(cfg.PartitionLogsByResourceAttributes,
		"partition_logs_by_resource_attributes: requests that pass through have none, so all would go to one partition: leave it out")
	r.refuse(cfg.PartitionLogsByTraceID,
		"partition_logs_by_trace_id: requests that pass through have none: leave it out")
	r.refuse(cfg.Logs.MessageKeyFromMetadataKey != batchRoot,
		"logs::message_key_from_metadata_key: only with %s does repeated data meet its first copy in one partition: set it to that", batchRoot)
	keyed := cfg.RecordPartitioner.StickyKey != nil || cfg.RecordPartitioner.Extension != nil
	r.refuse(!keyed,
		"record_partitioner: it does not look at the message key, so repeated data does not meet its first copy: leave it out")
}
