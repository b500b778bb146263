package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValidate: what needs neither network nor the content of a file is found by
// `otelcol-lifeline validate`, which names the key and what to do.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name    string
		configs []string
		want    []string
	}{
		{"no transport", []string{exporter(``)}, []string{"exporters::lifeline", "http: missing", "https://gateway.example.com:4318"}},
		{"two transports", []string{exporter(`http: {endpoint: "http://localhost:4318"}, grpc: {endpoint: "localhost:4317"}`)}, []string{"grpc: stands beside http"}},
		{"a path in the endpoint", []string{exporter(`http: {endpoint: "http://localhost:4318/v1/logs"}`)}, []string{"http::endpoint", "base URL"}},
		{"a flare without keys", []string{exporter(`http: {endpoint: "http://localhost:4318"}, flare: {}`)}, []string{"flare", "buckets: missing", "recipients_file: missing", "lifeline keygen recovery", "signing_key_file: missing"}},
		{"a bucket without credentials", []string{"agent", "yaml:exporters::lifeline::flare::buckets: [{bucket: b-1, prefix: f/, region: eu-west-1}]"}, []string{"exporters::lifeline::flare: buckets::0: credentials_file: missing"}},
		{"an unknown key", []string{"agent", "yaml:exporters::lifeline::rings: 1"}, []string{"lifeline", "rings"}},
		{"a gateway without a listener", []string{"gateway", "yaml:receivers::lifeline: {protocols: }"}, []string{"protocols"}},
		{"passthrough in a traces pipeline", []string{"gateway", "yaml:service::pipelines::traces: {receivers: [lifeline], exporters: [kafka]}"}, []string{"passthrough::enabled", "logs pipeline"}},
		{"recovery without keys", []string{"recovery", "yaml:extensions::flare_recovery::identities_file: ''"}, []string{"flare_recovery", "identities_file"}},
		{"recovery's state where agents write", []string{"recovery", "yaml:extensions::flare_recovery::state_prefix: f/state/"}, []string{"state_prefix"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := validate(t, tc.configs...)
			require.Error(t, err, "validate let it pass")
			for _, want := range tc.want {
				require.Contains(t, out, want)
			}
		})
	}
}

// TestValidateShipped: the shipped configs are valid as they are.
func TestValidateShipped(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(configs, "*.yaml"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, file := range files {
		out, err := validate(t, file)
		require.NoError(t, err, out)
	}
}

// exporter is a whole config with a lifeline exporter of these keys alone.
func exporter(keys string) string {
	return "yaml:{receivers: {otlp: {protocols: {http: {}}}}, exporters: {lifeline: {" + keys + "}}, " +
		"service: {pipelines: {logs: {receivers: [otlp], exporters: [lifeline]}}}}"
}

// validate runs the command with configs: names of shipped ones, paths or URIs.
func validate(t *testing.T, sources ...string) (string, error) {
	t.Helper()
	args := []string{"validate"}
	for _, source := range sources {
		if source == "agent" || source == "gateway" || source == "recovery" {
			source = filepath.Join(configs, source+".yaml")
		}
		args = append(args, "--config", source)
	}
	out, err := exec.CommandContext(t.Context(), otelcol, args...).CombinedOutput()
	return string(out), err
}
