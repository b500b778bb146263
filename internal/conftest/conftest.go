// Package conftest reads the configurations that tests of components are made of.
package conftest

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

// Load reads what stands under id in testdata/config.yaml into cfg, which has the
// defaults, and validates it. It returns what the Collector would say of it.
func Load(t testing.TB, id string, cfg component.Config) error {
	t.Helper()
	all, err := confmaptest.LoadConf("testdata/config.yaml")
	require.NoError(t, err)
	sub, err := all.Sub(id)
	require.NoError(t, err)
	if err := sub.Unmarshal(cfg); err != nil {
		return err
	}
	return confmap.Validate(cfg)
}
