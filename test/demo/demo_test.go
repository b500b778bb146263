package demo

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// The judge must be able to say no: each case is one thing that must not happen.
func TestVerdict(t *testing.T) {
	now := time.Now()
	a, b, c := stack.Spans(1, now), stack.Spans(2, now), stack.Spans(3, now)
	const id, other = "0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff"
	for _, tc := range []struct {
		name  string
		kafka []*kgo.Record
		want  bool
	}{
		{"all there", []*kgo.Record{record(a, id), record(b, other)}, true},
		{"a batch twice, marked", []*kgo.Record{record(a, id), record(b, other), record(b, other)}, true},
		{"a batch twice, not marked", []*kgo.Record{record(a, id), record(b, other), record(b, "")}, false},
		{"a batch twice, under another id", []*kgo.Record{record(a, id), record(b, other), record(b, id)}, false},
		{"a batch lost", []*kgo.Record{record(a, id)}, false},
		{"a batch that nobody accepted", []*kgo.Record{record(a, id), record(b, other), record(c, id)}, false},
		{"nothing", nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l audit.Ledger
			require.NoError(t, l.Accept(frame.Traces, a))
			require.NoError(t, l.Accept(frame.Traces, b))
			require.NoError(t, addKafka(&l, tc.kafka))
			require.Equal(t, tc.want, balances(l.Row(frame.Traces)))
		})
	}
	require.False(t, balances(audit.Row{}), "a run without data proves nothing")
}

func record(value []byte, batchID string) *kgo.Record {
	return &kgo.Record{
		Topic: kafka.TracesTopic, Value: value,
		Headers: []kgo.RecordHeader{{Key: frame.HeaderBatchID, Value: []byte(batchID)}},
	}
}

func TestGarbageInKafkaIsAnError(t *testing.T) {
	var l audit.Ledger
	err := addKafka(&l, []*kgo.Record{record([]byte("garbage"), "")})
	require.ErrorContains(t, err, "otlp_spans, partition 0, offset 0")
}

func TestAcceptFile(t *testing.T) {
	request := stack.Spans(1, time.Now())
	whole := binary.BigEndian.AppendUint32(nil, uint32(len(request))) //nolint:gosec // small
	whole = append(whole, request...)
	for _, tc := range []struct {
		name    string
		content []byte
		spans   int64
		err     error
	}{
		{"empty", nil, 0, nil},
		{"two requests", append(bytes.Clone(whole), whole...), 2 * stack.SpansPerRequest, nil},
		{"a length cut off", append(bytes.Clone(whole), 0, 0), stack.SpansPerRequest, io.ErrUnexpectedEOF},
		{"a request cut off", whole[:len(whole)-1], 0, io.ErrUnexpectedEOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "traces.binpb")
			require.NoError(t, os.WriteFile(path, tc.content, 0o600))
			var l audit.Ledger
			require.ErrorIs(t, acceptFile(&l, frame.Traces, path), tc.err)
			require.Equal(t, tc.spans, l.Row(frame.Traces).Accepted)
		})
	}
}

// On a terminal the progress line stays below the events; elsewhere it is a line
// like any other, but not at every look.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := newScreen(&out)
	s.terminal = true
	s.progressf("ring %d", 1)
	s.eventf("gateway killed")
	s.table([]audit.Row{{Signal: frame.Logs, Accepted: 7, Kafka: 8, Duplicates: 1, Marked: 1}})
	text := out.String()
	require.Regexp(t, `^ +\d+\.\ds  · ring 1\r\x1b\[K +\d+\.\ds  gateway killed\n +\d+\.\ds  · ring 1\r\x1b\[K\n`, text)
	require.Regexp(t, `logs +7 +8 +1 +1 +0 +0 +0\n`, text)

	out.Reset()
	s = newScreen(&out)
	s.progressf("first")
	s.progressf("too soon")
	s.eventf("event")
	require.Regexp(t, `^ +\d+\.\ds  · first\n +\d+\.\ds  event\n$`, out.String())
}

func TestRunNamesWhatIsMissing(t *testing.T) {
	err := Run(t.Context(), Options{Otelcol: "no/such/binary", Lifeline: os.Args[0], Configs: ".", Out: io.Discard})
	require.ErrorContains(t, err, "make build")
	require.ErrorContains(t, err, "no/such/binary")
}

func TestConserved(t *testing.T) {
	good := proc.Samples{
		`otelcol_lifeline_accepted_items_total{signal="logs"}`:                 10,
		`otelcol_lifeline_delivered_items_total{signal="logs"}`:                4,
		`otelcol_lifeline_flared_items_total{reason="expired",signal="logs"}`:  2,
		`otelcol_lifeline_flared_items_total{reason="shutdown",signal="logs"}`: 1,
		`otelcol_lifeline_lost_items_total{reason="ring_full",signal="logs"}`:  1,
		`otelcol_lifeline_rejected_items_total{signal="logs"}`:                 1,
		`otelcol_lifeline_held_items{signal="logs"}`:                           1,
		`otelcol_lifeline_late_acks_total{signal="logs"}`:                      5,
		`otelcol_lifeline_flares_total{outcome="stored",reason="expired"}`:     1,
	}
	require.NoError(t, conserved(good))
	good[`otelcol_lifeline_held_items{signal="logs"}`] = 2
	require.ErrorContains(t, conserved(good), "logs: 10 accepted, 11 accounted for")
}
