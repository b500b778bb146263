package flarerecoveryextension

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/bytesize"
)

func load(t *testing.T, name string) *confmap.Conf {
	t.Helper()
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	sub, err := conf.Sub(component.NewIDWithName(metadata.Type, name).String())
	require.NoError(t, err)
	return sub
}

func parse(t *testing.T, conf *confmap.Conf) (*Config, error) {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	if err := conf.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestConfigDefaults(t *testing.T) {
	cfg, err := parse(t, load(t, ""))
	require.NoError(t, err)
	require.Equal(t, "lifeline/", cfg.StatePrefix)
	require.Equal(t, 30*time.Second, cfg.PollInterval)
	require.Equal(t, 336*time.Hour, cfg.MaxAge)
	require.Equal(t, 10*bytesize.GiB, cfg.Quarantine.MaxBytes)
	require.Equal(t, 32*bytesize.MiB, cfg.MaxRate)
	require.Equal(t, 30*time.Second, cfg.Forward.Timeout)
	require.True(t, cfg.Lease)
}

func TestConfigFull(t *testing.T) {
	cfg, err := parse(t, load(t, "full"))
	require.NoError(t, err)
	require.Equal(t, "agents/state/", cfg.StatePrefix)
	require.Equal(t, bytesize.GiB, cfg.Quarantine.MaxBytes)
	require.Equal(t, bytesize.MiB, cfg.MaxRate)
	require.Equal(t, "X-Scope-OrgID", cfg.Forward.TenantHeader)
}

// The configuration we ship is taken as it is, without one variable set.
func TestShippedConfig(t *testing.T) {
	resolver, err := confmap.NewResolver(confmap.ResolverSettings{
		URIs:              []string{"file:" + filepath.Join("..", "..", "testdata", "configs", "recovery.yaml")},
		ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory(), envprovider.NewFactory()},
		DefaultScheme:     "env",
	})
	require.NoError(t, err)
	all, err := resolver.Resolve(t.Context())
	require.NoError(t, err)
	conf, err := all.Sub("extensions::flare_recovery")
	require.NoError(t, err)
	cfg, err := parse(t, conf)
	require.NoError(t, err)
	require.Equal(t, "f/", cfg.S3.Prefix)
	require.NoError(t, resolver.Shutdown(t.Context()))
}

// One bad value per error: each names its key and says what to do.
func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		want  []string
	}{
		{"s3::bucket", "", []string{"s3: bucket: missing"}},
		{"s3::prefix", "f", []string{"s3: prefix:", "for example f/"}},
		{"state_prefix", "", []string{"state_prefix:", "for example lifeline/"}},
		{"state_prefix", "/lifeline/", []string{"state_prefix:", "begin with a slash"}},
		{"state_prefix", "f/state/", []string{"state_prefix:", "side by side"}},
		{"s3::prefix", "lifeline/f/", []string{"state_prefix:", "side by side"}},
		{"identities_file", "", []string{"identities_file: missing", "lifeline keygen recovery"}},
		{"allowed_signers_file", "", []string{"allowed_signers_file: missing", "lifeline keygen agent"}},
		{"audience", "a\nb", []string{"audience:", "printable ASCII"}},
		{"audience", "acm\u00e9", []string{"audience:", "printable ASCII"}},
		{"audience", " acme", []string{"audience:", "outer spaces"}},
		{"poll_interval", "0s", []string{"poll_interval:", "1s or more"}},
		{"max_age", "1s", []string{"max_age:", "336h"}},
		{"quarantine::max_bytes", "0", []string{"quarantine::max_bytes:", "10GiB"}},
		{"quarantine::max_bytes", "10GB", []string{"max_bytes", "GiB"}},
		{"max_rate", 0, []string{"max_rate:", "32MiB"}},
		{"forward::http::endpoint", "", []string{"forward: http::endpoint: missing"}},
		{"forward::http::endpoint", "gateway:4319", []string{"forward: http::endpoint:", "https://"}},
		{"forward::http::timeout", "5s", []string{"forward: http::timeout: remove it"}},
		{"forward::timeout", "0s", []string{"forward: timeout:", "30s"}},
		{"forward::http::compression", "gzip", []string{"forward: http::compression:", "remove it"}},
		{"forward::http::headers", map[string]any{"x-scope-orgid": "one"}, []string{"http::headers:", "tenant_header"}},
		{"forward::http::headers", map[string]any{"Lifeline-Agent": "one"}, []string{"http::headers:", "belongs to the component"}},
		{"forward", map[string]any{"grpc": map[string]any{"endpoint": "gateway:4317", "headers": map[string]any{"x-scope-orgid": "one"}}}, []string{"grpc::headers:", "tenant_header"}},
		{"forward", map[string]any{"grpc": map[string]any{"endpoint": "gateway:4317"}}, []string{"forward: grpc: stands beside http"}},
		{"forward::tenant_header", "X Scope", []string{"forward: tenant_header:", "X-Scope-OrgID"}},
		{"forward::tenant_header", "Authorization", []string{"forward: tenant_header:", "another name"}},
		{"forward::grpc::endpoint", "gateway", []string{"forward:", "host and port"}},
		{"forward::compression", "lz4", []string{"forward: compression:", "zstd, gzip or none"}},
		{"forwrad", "x", []string{"forwrad"}},
	} {
		t.Run(c.key, func(t *testing.T) {
			conf := load(t, "")
			require.NoError(t, conf.Merge(confmap.NewFromStringMap(map[string]any{"forward::tenant_header": "X-Scope-OrgID"})))
			require.NoError(t, conf.Merge(confmap.NewFromStringMap(map[string]any{c.key: c.value})))
			_, err := parse(t, conf)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}
