package configcheck_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/internal/configcheck"
)

func check(t *testing.T, sources ...string) (*configcheck.Report, error) {
	t.Helper()
	conf, err := collectorconf.Load(t.Context(), sources)
	require.NoError(t, err)
	return configcheck.Config(t.Context(), conf)
}

func shipped(name string) string { return filepath.Join("..", "..", "testdata", "configs", name) }

func TestShipped(t *testing.T) {
	report, err := check(t, shipped("gateway.yaml"))
	require.NoError(t, err)
	require.Empty(t, report.Faults)
	require.Equal(t, []string{"extensions::lifeline_status", "receivers::lifeline", "receivers::lifeline/recovery"}, report.Checked)
	report, err = check(t, shipped("consumer.yaml"))
	require.NoError(t, err)
	require.Empty(t, report.Faults)
	require.Empty(t, report.Checked)
}

// TestEveryRoleIsChecked: a fault of any component that Lifeline knows is found,
// whether or not a pipeline uses it, and an ack_guard with nothing to look after.
func TestEveryRoleIsChecked(t *testing.T) {
	for source, want := range map[string]string{
		"yaml:exporters::lifeline::senders: 0":                                           "exporters::lifeline::",
		"yaml:extensions::flare_recovery/x::max_age: 1s":                                 "extensions::flare_recovery/x::",
		"yaml:extensions::lifeline_status::write_timeout: 1s":                            "extensions::lifeline_status::write_timeout: ",
		"yaml:receivers::lifeline/y::ack_timeout: 1ms":                                   "receivers::lifeline/y::ack_timeout: ",
		"yaml:exporters::lifeline::sender: 1":                                            "exporters::lifeline::",
		"yaml:{extensions: {ack_guard: {mode: no}}, service: {extensions: [ack_guard]}}": "extensions::ack_guard::mode: ",
	} {
		report, err := check(t, source)
		require.NoError(t, err)
		require.NotEmpty(t, report.Faults, source)
		require.Contains(t, report.Faults[0], want)
	}
	report, err := check(t, "yaml:{extensions: {ack_guard: }, service: {extensions: [ack_guard]}}")
	require.NoError(t, err)
	require.Len(t, report.Faults, 1)
	require.Contains(t, report.Faults[0], "no pipeline has one")
}

func TestUnreadable(t *testing.T) {
	for _, source := range []string{
		"yaml:exporters::kafka::timeout: soon",
		"yaml:exporters: {1bad/: }",
		"yaml:service::extensions: {a: b}",
	} {
		_, err := check(t, source)
		require.Error(t, err, source)
	}
	_, err := collectorconf.Load(t.Context(), []string{"nowhere.yaml"})
	require.ErrorContains(t, err, "nowhere.yaml")
	_, err = collectorconf.Load(t.Context(), []string{"http://nowhere"})
	require.Error(t, err)
	_, err = collectorconf.Load(context.Background(), nil)
	require.Error(t, err)
	_, err = configcheck.Collector("nowhere")
	require.Error(t, err)
}
