package lifelineexporter

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// load reads a section of a file over the defaults.
func load(t *testing.T, path, id string) (*Config, error) {
	conf, err := confmaptest.LoadConf(path)
	require.NoError(t, err)
	sub, err := conf.Sub(id)
	require.NoError(t, err)
	cfg := createDefaultConfig()
	return cfg.(*Config), sub.Unmarshal(cfg)
}

func TestTheSmallestConfig(t *testing.T) {
	cfg, err := load(t, "testdata/config.yaml", "lifeline")
	require.NoError(t, err)
	require.NoError(t, confmap.Validate(cfg))
	want := createDefaultConfig().(*Config)
	client := *cfg.HTTP.Get()
	require.Equal(t, 10*time.Second, client.HTTP2ReadIdleTimeout, "a dead connection must be found")
	require.Equal(t, 10*time.Second, client.HTTP2PingTimeout)
	want.HTTP = configoptional.Some(client)
	require.Equal(t, want, cfg)
	require.False(t, cfg.Flare.HasValue())
	require.Zero(t, cfg.flareSize())
}

func TestEveryKey(t *testing.T) {
	cfg, err := load(t, "testdata/config.yaml", "lifeline/all")
	require.NoError(t, err)
	require.NoError(t, confmap.Validate(cfg))
	want := &Config{
		HTTP: cfg.HTTP, GRPC: cfg.GRPC,
		Agent: "acme/host-17", Audience: "acme-prod", ReceiptKeyFile: "/etc/lifeline/receipt_keys", Compression: "zstd", MetadataKeys: []string{"X-Tenant", "x-team"},
		Timeout: 10 * time.Second,
		Retry:   RetryConfig{InitialInterval: 2 * time.Second, MaxInterval: 20 * time.Second},
		Senders: 2, Order: newestFirst,
		Frame: FrameConfig{MaxSize: 128 * bytesize.KiB},
		Ring:  RingConfig{Capacity: 32 * bytesize.MiB, MaxAge: 10 * time.Minute, WhenFull: refuse},
		Flare: configoptional.Some(FlareConfig{
			Buckets: []s3bucket.Config{
				{Bucket: "acme-flares", Prefix: "f/", Region: "eu-west-1", CredentialsFile: "/etc/lifeline/s3"}, //nolint:gosec // a path, no secret
				{Bucket: "acme-flares-2", Prefix: "f/", Endpoint: "https://s3.example.com", AccessKeyID: "a", SecretAccessKey: "b"},
			},
			RecipientsFile: "/etc/lifeline/recipients.txt", AllowSingleRecipient: true, SigningKeyFile: "/etc/lifeline/agent_ed25519",
			MaxSize: 4 * bytesize.MiB, Budget: 2 * bytesize.GiB, DrillInterval: 12 * time.Hour,
		}),
		ShutdownTimeout: 15 * time.Second,
	}
	require.Equal(t, want, cfg)
	require.Equal(t, "https://gateway.example.com/otlp", cfg.HTTP.Get().Endpoint)
	require.Equal(t, 4*bytesize.MiB, cfg.flareSize())
}

func TestGRPCInsteadOfHTTP(t *testing.T) {
	cfg, err := load(t, "testdata/config.yaml", "lifeline/grpc")
	require.NoError(t, err)
	require.NoError(t, confmap.Validate(cfg))
	require.False(t, cfg.HTTP.HasValue())
	require.Equal(t, "gateway.example.com:4317", cfg.GRPC.Get().Endpoint)
	require.Equal(t, 30*time.Second, cfg.GRPC.Get().Keepalive.Get().Time)
	require.Equal(t, 10*time.Second, cfg.GRPC.Get().Keepalive.Get().Timeout)
	require.Equal(t, "gzip", cfg.Compression)
}

func TestTheDefaultSizeOfAFlare(t *testing.T) {
	for capacity, want := range map[bytesize.Size]bytesize.Size{
		64 * bytesize.MiB: 8 * bytesize.MiB, bytesize.GiB: 8 * bytesize.MiB, 16 * bytesize.MiB: 2 * bytesize.MiB,
	} {
		cfg := createDefaultConfig().(*Config)
		cfg.Ring.Capacity, cfg.Flare = capacity, configoptional.Some(FlareConfig{})
		require.Equal(t, want, cfg.flareSize(), capacity)
	}
}

// Every file in testdata/bad holds one fault. Its first line says how the error
// must name the key, its second what remedy the error must offer.
func TestEveryFaultNamesItsKeyAndTheRemedy(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(paths), 40)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path) //nolint:gosec // found by the glob above
			require.NoError(t, err)
			lines := strings.SplitN(string(text), "\n", 3)
			cfg, err := load(t, path, "lifeline")
			if err == nil {
				err = confmap.Validate(cfg)
				require.Error(t, err, "the fault was not found")
				require.NotContains(t, err.Error(), "\n", "one fault, one line")
			}
			require.ErrorContains(t, err, strings.TrimPrefix(lines[0], "# "))
			require.ErrorContains(t, err, strings.TrimPrefix(lines[1], "# "))
		})
	}
}

func TestSeveralFaultsAreAllShown(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Senders, cfg.Order, cfg.Ring.WhenFull = 0, "random", "panic"
	err := confmap.Validate(cfg)
	for _, part := range []string{"http: missing", "senders:", "order:", "when_full:"} {
		require.ErrorContains(t, err, part)
	}
}

// The Collector prints and hashes the configuration: sizes must survive that.
func TestTheConfigSurvivesARoundTrip(t *testing.T) {
	cfg, err := load(t, "testdata/config.yaml", "lifeline/all")
	require.NoError(t, err)
	conf := confmap.New()
	require.NoError(t, conf.Marshal(cfg))
	require.Equal(t, "128KiB", conf.Get("frame::max_size"))
	again := createDefaultConfig().(*Config)
	require.NoError(t, conf.Unmarshal(again))
	require.Equal(t, cfg.Frame, again.Frame)
	require.Equal(t, cfg.Ring, again.Ring)
	require.Equal(t, cfg.Flare.Get().Budget, again.Flare.Get().Budget)
}

var _ component.Config = (*Config)(nil)
