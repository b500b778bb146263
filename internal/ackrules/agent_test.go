package ackrules

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/collectorconf"
)

const agent = `yaml:{
  receivers: {lifeline: {protocols: {grpc: }, passthrough: {to: lifeline}}, filelog: },
  exporters: {lifeline: {http: {endpoint: "https://gateway.example.com:4318"}}, lifeline/b: , otlp: },
  connectors: {forward: },
  service: {pipelines: {logs/otlp: {receivers: [lifeline], exporters: [lifeline]}, logs: {receivers: [filelog], processors: [batch], exporters: [lifeline, otlp]}}}}`

// What a receiver lends to lifeline exporters must reach them as it is, and
// nobody else; the agent's other pipelines are its own affair.
func TestAgentsThatPassThrough(t *testing.T) {
	const at = "service::pipelines::logs/otlp::"
	for _, tc := range []struct {
		name, change string
		allow        []string
		want         []string // how the faults begin, all of them
	}{
		{"as it should be", `{}`, nil, nil},
		{"two exporters", `service::pipelines::logs/otlp::exporters: [lifeline, lifeline/b]`, nil, nil},
		{"batch", `service::pipelines::logs/otlp::processors: [batch]`, []string{"batch"}, []string{at + "processors: batch stands between receivers::lifeline "}},
		{"two processors", `service::pipelines::logs/otlp::processors: [resourcedetection, filter]`, nil, []string{at + "processors: resourcedetection stands", at + "processors: filter stands"}},
		{"one that looks at nothing", `service::pipelines::logs/otlp::processors: [memory_limiter]`, nil, nil},
		{"one that is allowed", `service::pipelines::logs/otlp::processors: [own]`, []string{"own"}, nil},
		{"another exporter", `service::pipelines::logs/otlp::exporters: [lifeline, debug]`, nil, []string{at + "exporters: debug cannot read"}},
		{"only another", `service::pipelines::logs/otlp::exporters: [otlp]`, nil, []string{at + "exporters: otlp cannot read"}},
		{"a connector", `service::pipelines::logs/otlp::exporters: [forward]`, nil, []string{at + "exporters: forward cannot read"}},
		{"Kafka", `exporters: {kafka: }, service::pipelines::logs/otlp::exporters: [kafka]`, nil, []string{at + "exporters: kafka cannot read"}},
		{"to Kafka after all", `receivers::lifeline::passthrough::to: kafka`, nil, []string{at + "exporters: lifeline is not known", at + "exporters: an ack of receivers::lifeline would not"}},
		{"tenants", `exporters::lifeline::metadata_keys: [X-Tenant, x-zone]`, nil, []string{"receivers::lifeline::metadata_keys: without X-Tenant, x-zone what exporters::lifeline is"}},
		{"tenants, handed on", `{receivers::lifeline::metadata_keys: [x-tenant], exporters::lifeline::metadata_keys: [X-Tenant]}`, nil, nil},
		{"cut off", `receivers::lifeline::protocols::http::write_timeout: 1s`, nil, []string{"receivers::lifeline::protocols::http::write_timeout: 1s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := tc.change
			if !strings.HasPrefix(change, "{") {
				change = "{" + change + "}"
			}
			conf, err := collectorconf.Load(t.Context(), []string{agent, "yaml:" + change})
			require.NoError(t, err)
			faults := check(t, conf, tc.allow...)
			require.Len(t, faults, len(tc.want), strings.Join(faults, "\n"))
			for i, want := range tc.want {
				require.True(t, strings.HasPrefix(faults[i], want), faults[i])
				require.NotContains(t, faults[i], "\n")
				require.Contains(t, strings.SplitN(faults[i], ": ", 2)[1], ": ", "the remedy stands behind a colon")
			}
		})
	}
}
