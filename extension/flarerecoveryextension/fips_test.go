package flarerecoveryextension

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension/internal/metadata"
)

// Under fips140=only age cannot work, so recovery says so instead of failing at
// every flare. The mode is a process's: the test runs itself again.
func TestRefusesFIPSOnly(t *testing.T) {
	if fips140.Enforced() {
		ext := newExtension(extensiontest.NewNopSettings(metadata.Type), createDefaultConfig().(*Config))
		require.ErrorContains(t, ext.Start(t.Context(), componenttest.NewNopHost()), "fips140=only")
		require.NoError(t, ext.Shutdown(t.Context()))
		return
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRefusesFIPSOnly$", "-test.v") //nolint:gosec // this test itself
	c.Env = append(os.Environ(), "GODEBUG=fips140=only")
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestRefusesFIPSOnly")
}
