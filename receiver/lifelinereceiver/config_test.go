package lifelinereceiver

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/conftest"
)

func load(t *testing.T, id string) (*Config, error) {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	return cfg, conftest.Load(t, id, cfg)
}

func TestConfig(t *testing.T) {
	cfg, err := load(t, "lifeline")
	require.NoError(t, err)
	grpc, http := cfg.Protocols.GRPC.Get(), cfg.Protocols.HTTP.Get()
	require.Equal(t, "localhost:4317", grpc.NetAddr.Endpoint)
	require.Equal(t, 20, grpc.MaxRecvMsgSizeMiB)
	require.EqualValues(t, 100, grpc.MaxConcurrentStreams)
	require.Equal(t, "localhost:4318", http.NetAddr.Endpoint)
	require.Zero(t, http.WriteTimeout)
	require.Equal(t, 10*time.Second, http.ReadHeaderTimeout)
	require.Equal(t, "otlp_spans", cfg.Passthrough.TracesTopic)

	cfg, err = load(t, "lifeline/all")
	require.NoError(t, err)
	require.Equal(t, PassthroughConfig{
		Enabled: true, To: toKafka, TracesTopic: "t", MetricsTopic: "m", LogsTopic: "l", ProfilesTopic: "p",
		MaxMessageBytes: 2 * bytesize.MiB,
	}, cfg.Passthrough)
	require.Equal(t, AdmissionConfig{MaxInflight: bytesize.GiB, MaxWait: 2 * time.Second}, cfg.Admission)
	require.Equal(t, int64(8<<20), cfg.maxGRPC())
	require.Equal(t, int64(1<<20), cfg.maxHTTP())

	cfg, err = load(t, "lifeline/agent")
	require.NoError(t, err)
	require.True(t, cfg.Passthrough.ToLifeline())

	cfg, err = load(t, "lifeline/decode")
	require.NoError(t, err)
	require.False(t, cfg.Passthrough.ToLifeline())
	require.False(t, cfg.Protocols.GRPC.HasValue(), "off unless named")
}

func TestConfigRefuses(t *testing.T) {
	for id, want := range map[string]string{ //nolint:gosec // names of keys, no secrets
		"nothing":     "protocols: name grpc, http or both",
		"short":       "ack_timeout",
		"audience":    "audience",
		"compression": "protocols::http::compression_algorithms",
		"wait":        "admission::max_wait",
		"inflight":    "admission::max_inflight",
		"topic":       "passthrough::metrics_topic",
		"message":     "passthrough::max_message_bytes",
		"size":        "max_message_bytes",
		"to":          `passthrough::to: "ring" must be kafka or lifeline`,
		"to_topic":    "passthrough::logs_topic: nothing goes to Kafka",
		"to_message":  "passthrough::max_message_bytes: nothing goes to Kafka",
		"to_receipt":  "receipt_key_file: a receipt says that Kafka has the data",
		"metadata":    `metadata_keys: "Lifeline-Agent"`,
		"secret":      `metadata_keys: "Authorization"`,
		"unknown":     "ack_timout",
	} {
		t.Run(id, func(t *testing.T) {
			_, err := load(t, "lifeline/"+id)
			require.ErrorContains(t, err, want)
		})
	}
}
