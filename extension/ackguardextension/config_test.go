package ackguardextension

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/conftest"
)

func load(t *testing.T, id string) (*Config, error) {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	return cfg, conftest.Load(t, id, cfg)
}

func TestConfig(t *testing.T) {
	cfg, err := load(t, "ack_guard")
	require.NoError(t, err)
	require.Equal(t, &Config{Mode: modeEnforce}, cfg)
	cfg, err = load(t, "ack_guard/all")
	require.NoError(t, err)
	require.Equal(t, &Config{Mode: modeWarn, Allow: []string{"routing", "otlp/mirror"}}, cfg)
}

func TestConfigRefuses(t *testing.T) {
	for id, want := range map[string]string{
		"mode": `mode: "maybe"`, "name": `allow: "otlp/"`, "batch": "allow: batch", "unknown": "modus",
	} {
		_, err := load(t, "ack_guard/"+id)
		require.ErrorContains(t, err, want)
	}
}
