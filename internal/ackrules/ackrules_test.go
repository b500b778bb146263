package ackrules

import (
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-lifeline/lifeline/internal/collectorconf"
)

var shipped = filepath.Join("..", "..", "testdata", "configs", "gateway.yaml")

// load reads the shipped gateway with changes over it.
func load(t *testing.T, changes ...string) *confmap.Conf {
	t.Helper()
	sources := []string{shipped}
	for _, c := range changes {
		sources = append(sources, "yaml:"+c)
	}
	conf, err := collectorconf.Load(t.Context(), sources)
	require.NoError(t, err)
	return conf
}

// asShown returns the configuration as the Collector shows it to extensions:
// every section decoded over its defaults and encoded again.
func asShown(t *testing.T, conf *confmap.Conf) *confmap.Conf {
	t.Helper()
	g, err := FromFile(conf)
	require.NoError(t, err)
	shown := conf.ToStringMap()
	encode := func(section, name string, cfg any) {
		out := confmap.New()
		require.NoError(t, out.Marshal(cfg))
		shown[section].(map[string]any)[name] = out.ToStringMap()
	}
	for id, cfg := range g.receivers {
		encode("receivers", id.String(), cfg)
	}
	for id, cfg := range g.kafka {
		encode("exporters", id.String(), cfg)
	}
	return confmap.NewFromStringMap(shown)
}

// check returns the faults, which must be the same in both forms.
func check(t *testing.T, conf *confmap.Conf, allow ...string) []string {
	t.Helper()
	g, err := FromFile(conf)
	require.NoError(t, err)
	faults, _ := g.Check(allow)
	e, err := FromEffective(asShown(t, conf))
	require.NoError(t, err)
	again, _ := e.Check(allow)
	require.Equal(t, faults, again, "file and effective configuration must be judged alike")
	return faults
}

func TestShippedGatewayIsSound(t *testing.T) {
	require.Empty(t, check(t, load(t)))
	secured := `exporters::kafka: {tls: {insecure_skip_verify: true}, auth: {sasl: {mechanism: SCRAM-SHA-512, username: u, password: p}}}`
	require.Empty(t, check(t, load(t, secured)), "a secured exporter is as sound")
}

const decode = `receivers: {lifeline: {passthrough: {enabled: false}}, lifeline/recovery: {passthrough: {enabled: false}}}`

// decodes turns the shipped gateway into one that decodes.
var decodes = []string{decode, `exporters::kafka::logs: {encoding: otlp_proto}`}

func TestFaults(t *testing.T) {
	for _, tc := range []struct {
		name    string
		changes []string
		want    []string // how the faults begin, all of them
	}{
		{"queue on", []string{`exporters::kafka::sending_queue::enabled: true`}, []string{"exporters::kafka::sending_queue: it is on"}},
		{"queue null in a file", []string{`exporters::kafka::sending_queue: null`}, []string{"exporters::kafka::sending_queue: it is on"}},
		{"retries", []string{`exporters::kafka::retry_on_failure::enabled: true`}, []string{"exporters::kafka::retry_on_failure: it is on"}},
		{"acks of the leader", []string{`exporters::kafka::producer::required_acks: 1`}, []string{"exporters::kafka::producer::required_acks: 1 is"}},
		{"topics by accident", []string{`exporters::kafka::producer::allow_auto_topic_creation: true`}, []string{"exporters::kafka::producer::allow_auto_topic_creation:"}},
		{"kafka's clock", []string{`exporters::kafka::timeout: 5s`}, []string{"exporters::kafka::timeout: 5s", "exporters::kafka::timeout: 5s"}},
		{"the answer cut off", []string{`receivers::lifeline::protocols::http::write_timeout: 20s`}, []string{"receivers::lifeline::protocols::http::write_timeout: 20s"}},
		{"no batch id", []string{`exporters::kafka::include_metadata_keys: [lifeline-frame, lifeline-part, lifeline-flare-id, lifeline-agent]`}, []string{"exporters::kafka::include_metadata_keys: without lifeline-batch-id"}},
		{"no part", []string{`exporters::kafka::include_metadata_keys: [lifeline-frame, lifeline-batch-id, lifeline-flare-id, lifeline-agent]`}, []string{"exporters::kafka::include_metadata_keys: without lifeline-part"}},
		{"wrapped bytes", []string{`exporters::kafka::logs::encoding: otlp_proto`}, []string{"exporters::kafka::logs::encoding: otlp_proto", "exporters::kafka::logs::encoding: otlp_proto"}},
		{"raw bodies", []string{decode}, []string{"exporters::kafka::logs::encoding: raw writes", "exporters::kafka::logs::encoding: raw writes"}},
		{"no room", []string{`exporters::kafka::producer::max_message_bytes: 930000`}, []string{"exporters::kafka::producer::max_message_bytes: 930000", "exporters::kafka::producer::max_message_bytes: 930000"}},
		{"a topic that clients choose", []string{`exporters::kafka::logs::topic_from_metadata_key: t`}, []string{"exporters::kafka::logs::topic_from_metadata_key", "exporters::kafka::logs::topic_from_metadata_key"}},
		{"a topic from an attribute", []string{`exporters::kafka::topic_from_attribute: t`}, []string{"exporters::kafka::topic_from_attribute", "exporters::kafka::topic_from_attribute"}},
		{"no key", []string{`exporters::kafka::logs::message_key_from_metadata_key: ""`}, []string{"exporters::kafka::logs::message_key_from_metadata_key"}},
		{"the key unused", []string{`exporters::kafka::record_partitioner: {round_robin: {}}`}, []string{"exporters::kafka::record_partitioner"}},
		{"one partition", []string{`exporters::kafka: {logs: {message_key_from_metadata_key: ""}, partition_logs_by_resource_attributes: true}`}, []string{"exporters::kafka::partition_logs_by_resource_attributes", "exporters::kafka::logs::message_key"}},
		{"by trace", []string{`exporters::kafka: {logs: {message_key_from_metadata_key: ""}, partition_logs_by_trace_id: true}`}, []string{"exporters::kafka::partition_logs_by_trace_id", "exporters::kafka::logs::message_key"}},
		{"batch", []string{`service::pipelines::logs::processors: [batch/x]`}, []string{"service::pipelines::logs::processors: batch/x answers"}},
		{"bytes processed", []string{`service::pipelines::logs::processors: [memory_limiter, filter]`}, []string{"service::pipelines::logs::processors: filter would", "service::pipelines::logs::processors: filter would"}},
		{"an unknown processor", append(decodes, `service::pipelines::logs::processors: [filter, tail_sampling]`), []string{"service::pipelines::logs::processors: tail_sampling is"}},
		{"another exporter", []string{`service::pipelines::logs::exporters: [kafka, debug, otlp/b]`}, []string{"service::pipelines::logs::exporters: otlp/b is"}},
		{"no Kafka", []string{`service::pipelines::logs::exporters: [debug]`}, []string{"service::pipelines::logs::exporters: an ack of receivers::lifeline ", "service::pipelines::logs::exporters: an ack of receivers::lifeline/recovery "}},
		{"nothing to look after", []string{`service::pipelines::logs::receivers: [otlp]`}, []string{"service::extensions: ack_guard"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			faults := check(t, load(t, tc.changes...))
			require.Len(t, faults, len(tc.want), strings.Join(faults, "\n"))
			for i, want := range tc.want {
				require.True(t, strings.HasPrefix(faults[i], want), faults[i])
				require.NotContains(t, faults[i], "\n")
				require.Contains(t, strings.SplitN(faults[i], ": ", 2)[1], ": ", "the remedy stands behind a colon")
			}
		})
	}
}

func TestDecodingGatewayIsSound(t *testing.T) {
	traces := `service::pipelines::traces: {receivers: [lifeline], processors: [memory_limiter, transform], exporters: [kafka]}`
	require.Empty(t, check(t, load(t, append(decodes, traces)...)))
}

func TestAllow(t *testing.T) {
	conf := load(t, `service::pipelines::logs: {processors: [own], exporters: [kafka, otlp/b]}`)
	require.Len(t, check(t, conf), 3)
	require.Empty(t, check(t, conf, "own", "otlp/b"))
	require.Empty(t, check(t, conf, "own", "otlp"))
	require.Len(t, check(t, conf, "own", "otlp/c"), 1)
	require.NotEmpty(t, check(t, load(t, `service::pipelines::logs::processors: [batch/x]`), "batch/x"), "batch cannot be allowed")
}

func TestConnectors(t *testing.T) {
	through := func(connector, pipelines string) []string {
		return []string{`connectors: {` + connector + `: }`, `service::pipelines: ` + pipelines}
	}
	for _, tc := range []struct {
		name    string
		changes []string
		allow   []string
		want    int
	}{
		{"forward", through("forward", `{logs: {exporters: [forward]}, logs/b: {receivers: [forward], exporters: [kafka]}}`), nil, 0},
		{"forward to a queue", through("forward", `{logs: {exporters: [forward]}, logs/b: {receivers: [forward], processors: [batch], exporters: [kafka]}}`), nil, 1},
		{"forward to Kafka and beside it", through("forward", `{logs: {exporters: [forward]}, logs/b: {receivers: [forward], exporters: [kafka]}, logs/c: {receivers: [forward], exporters: [debug]}}`), nil, 0},
		{"forward to nothing", through("forward", `{logs: {exporters: [forward]}, logs/b: {receivers: [forward], exporters: [nop]}}`), nil, 2},
		{"unknown", through("routing", `{logs: {exporters: [routing]}, logs/b: {receivers: [routing], exporters: [kafka]}}`), nil, 1},
		{"one that chooses", through("routing", `{logs: {exporters: [routing]}, logs/b: {receivers: [routing], exporters: [kafka]}, logs/c: {receivers: [routing], exporters: [nop]}}`), []string{"routing"}, 2},
		{"one that chooses well", through("routing", `{logs: {exporters: [routing]}, logs/b: {receivers: [routing], exporters: [kafka]}, logs/c: {receivers: [routing], exporters: [kafka]}}`), []string{"routing"}, 0},
		{"a circle", through("forward", `{logs: {receivers: [lifeline, lifeline/recovery, forward], exporters: [forward]}}`), nil, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			faults := check(t, load(t, tc.changes...), tc.allow...)
			require.Len(t, faults, tc.want, strings.Join(faults, "\n"))
		})
	}
}

func TestTargets(t *testing.T) {
	g, err := FromFile(load(t, `exporters::kafka/unused: {brokers: [b]}`))
	require.NoError(t, err)
	_, targets := g.Check(nil)
	require.Len(t, targets, 1)
	require.Equal(t, "kafka", targets[0].Exporter.String())
	require.Equal(t, 1000000, targets[0].MaxMessageBytes)
	require.Equal(t, map[string]bool{"otlp_spans": true, "otlp_metrics": true, "otlp_logs": true, "otlp_profiles": false}, targets[0].Topics)

	g, err = FromFile(load(t, append(decodes, `service::pipelines::metrics: {receivers: [lifeline], exporters: [kafka]}`, `exporters::kafka::metrics::topic: m`)...))
	require.NoError(t, err)
	_, targets = g.Check(nil)
	require.Equal(t, map[string]bool{"m": true, "otlp_logs": true}, targets[0].Topics)
}

func TestBuild(t *testing.T) {
	for version, bad := range map[string]bool{
		"v1.21.6": true, "v1.22.1": true, "v1.22.2": false, "v1.23.0": false, "v2.0.0": false, "v0.99.9": true, "(devel)": false,
	} {
		m := &debug.Module{Path: franzGo, Version: version}
		require.Equal(t, bad, len(BuildFaults(&debug.BuildInfo{Deps: []*debug.Module{m}})) == 1, version)
	}
	replaced := &debug.Module{Path: franzGo, Version: "v1.21.6", Replace: &debug.Module{Path: franzGo, Version: "v1.22.2"}}
	require.Empty(t, BuildFaults(&debug.BuildInfo{Deps: []*debug.Module{replaced}}), "what is built in counts")
	require.Empty(t, BuildFaults(&debug.BuildInfo{}))
}

func TestBrokenConfig(t *testing.T) {
	for _, change := range []string{`exporters::kafka::timeout: soon`, `receivers::lifeline::ack_timout: 1s`, `service::pipelines::logs::receivers: {a: b}`} {
		_, err := FromFile(load(t, change))
		require.Error(t, err, change)
	}
}

// TestNothingThatWaitsIsKnown: components that answer before the next one has
// must not slip onto the lists.
func TestNothingThatWaitsIsKnown(t *testing.T) {
	for _, name := range []string{"batch", "groupbytrace", "tail_sampling", "logdedup", "interval", "file", "otlp", "otlphttp", "routing", "failover", "spanmetrics", "count"} {
		require.False(t, slices.Contains(slices.Concat(untouching, processors, connectors, exporters), name), name)
	}
}
