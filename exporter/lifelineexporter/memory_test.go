package lifelineexporter

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
)

func TestALimitBelowTheRingIsWarnedOf(t *testing.T) {
	for text, warns := range map[string]int{
		"max\n": 0, "67108864\n": 1, "100663295\n": 1, "100663296\n": 0, "": 0,
	} {
		path := filepath.Join(t.TempDir(), "memory.max")
		if text != "" {
			put(t, path, []byte(text))
		}
		core, logs := observer.New(zap.WarnLevel)
		warnOfLimit(zap.New(core), path, 64*bytesize.MiB)
		require.Equal(t, warns, logs.Len(), text)
	}
}

// Under fips140=only no flare can be sealed. The primary works on, and the alarm
// says why. The mode is a process's: the test runs itself again.
func TestUnderFIPSOnlyTheFallbackIsOffAndTheGatewayIsNot(t *testing.T) {
	if !fips140.Enforced() {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") //nolint:gosec // this test itself
		c.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := c.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "--- PASS: "+t.Name())
		return
	}
	g := newGateway(t, ack)
	a := newAgent(t, g.URL, withFlare(newStore(t), keyDir(t))).start()
	event := a.host.next()
	require.Equal(t, componentstatus.StatusRecoverableError, event.Status())
	require.ErrorContains(t, event.Err(), "fips140=only")
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), testdata.GenerateLogs(1)))
	<-g.seen
	require.Zero(t, a.scrape()["lifeline_flare_ready"])
	a.shutdown()
	require.EqualValues(t, 1, a.scrape()["lifeline_delivered_items{signal=logs}"])
}
