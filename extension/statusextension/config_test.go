package statusextension

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-lifeline/lifeline/internal/conftest"
)

func load(t *testing.T, id string) (*Config, error) {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	return cfg, conftest.Load(t, id, cfg)
}

func TestConfig(t *testing.T) {
	require.NoError(t, componenttest.CheckConfigStruct(createDefaultConfig()))
	cfg, err := load(t, "lifeline_status")
	require.NoError(t, err)
	require.Equal(t, createDefaultConfig(), cfg)
	require.Equal(t, "localhost:55690", cfg.NetAddr.Endpoint)
	cfg, err = load(t, "lifeline_status/all")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:1234", cfg.NetAddr.Endpoint)
	require.Equal(t, 5*time.Second, cfg.WriteTimeout)
	require.NoError(t, cfg.CheckFiles(t.Context()))
}

func TestConfigRefuses(t *testing.T) {
	for id, want := range map[string]string{"nowhere": "endpoint: missing", "hasty": "write_timeout: 1s is too short", "unknown": "port"} {
		_, err := load(t, "lifeline_status/"+id)
		require.ErrorContains(t, err, want)
	}
	cfg := createDefaultConfig().(*Config)
	cfg.TLS = configoptional.Some(configtls.ServerConfig{Config: configtls.Config{CertFile: "nowhere.pem", KeyFile: "nowhere.key"}})
	require.ErrorContains(t, cfg.CheckFiles(t.Context()), "tls: ")
}
