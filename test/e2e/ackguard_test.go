package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
)

// TestGatewaysWhoseAcksWouldLie: every change in testdata/bad of ack_guard makes
// one fault of the shipped gateway. Its first line says how the fault begins. The
// gateway does not start with it, and `lifeline check` says the same offline.
func TestGatewaysWhoseAcksWouldLie(t *testing.T) {
	changes, err := filepath.Glob(filepath.Join(configs, "..", "..", "extension", "ackguardextension", "testdata", "bad", "*.yaml"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(changes), 10)
	shipped := filepath.Join(configs, "gateway.yaml")
	for _, change := range changes {
		t.Run(strings.TrimSuffix(filepath.Base(change), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(change) //nolint:gosec // found by the glob above
			require.NoError(t, err)
			first, _, _ := strings.Cut(string(text), "\n")
			want := strings.TrimPrefix(first, "# ")

			faults, code := checkConfig(t, shipped, change)
			require.Equal(t, 1, code)
			require.NotEmpty(t, faults)
			for _, fault := range faults {
				require.True(t, strings.HasPrefix(fault, want), fault)
			}

			out, code := refusedStart(t, shipped, change)
			require.Equal(t, 1, code, out)
			_, said, ok := strings.Cut(out, "ack_guard: this gateway's acks would not be true")
			require.True(t, ok, out)
			lines := strings.Split(strings.TrimSpace(said), "\n")
			require.Equal(t, faults, lines[1:1+len(faults)])
			for _, line := range lines[1+len(faults):] {
				require.NotContains(t, line, "::", "the start says more than the check")
			}
		})
	}
}

// TestCheckShipped: what ships is good, and its program is built with a Kafka
// client whose acks are true.
func TestCheckShipped(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), lifeline, "check", "--collector", otelcol, filepath.Join(configs, "gateway.yaml")).CombinedOutput() //nolint:gosec // our own binary
	require.NoError(t, err, string(out))
	require.Equal(t, "good: extensions::lifeline_status, receivers::lifeline, receivers::lifeline/recovery\n", string(out))
}

// TestCheckOpensFiles: of agent and recovery the check opens what validate does
// not: key, credential and certificate files.
func TestCheckOpensFiles(t *testing.T) {
	s := newStack(t)
	env := append(os.Environ(), s.Agent.Env...)
	env = append(env, s.Recovery.Env...)
	run := func(sources ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), lifeline, append([]string{"check"}, sources...)...) //nolint:gosec // our own binary
		cmd.Env = env
		out, err := cmd.Output()
		return string(out), err
	}
	gateway := filepath.Join(configs, "gateway.yaml")
	agent, recovery := filepath.Join(configs, "agent.yaml"), filepath.Join(configs, "recovery.yaml")
	out, err := run(agent)
	require.NoError(t, err, out)
	out, err = run(recovery)
	require.NoError(t, err, out)

	garbage := filepath.Join(t.TempDir(), "garbage")
	require.NoError(t, os.WriteFile(garbage, []byte("garbage\n"), 0o600))
	secured := "yaml:receivers::lifeline::protocols::grpc::tls::cert_file: " + gateway
	for key, sources := range map[string][]string{
		"receivers::lifeline::protocols::grpc::tls::key_file":     {gateway, secured},
		"receivers::lifeline::receipt_key_file":                   {gateway},
		"exporters::kafka::tls::ca_file":                          {gateway},
		"exporters::lifeline::flare::recipients_file":             {agent},
		"exporters::lifeline::flare::signing_key_file":            {agent},
		"exporters::lifeline::http::tls::ca_file":                 {agent},
		"extensions::flare_recovery::identities_file":             {recovery},
		"extensions::flare_recovery::allowed_signers_file":        {recovery},
		"extensions::flare_recovery::revoked_file":                {recovery},
		"extensions::flare_recovery::s3::credentials_file":        {recovery},
		"extensions::flare_recovery::forward::http::tls::ca_file": {recovery},
	} {
		for _, file := range []string{garbage, garbage + ".not-there"} {
			all := append(slices.Clone(sources), "yaml:"+key+": "+file)
			out, err := run(all...)
			require.Error(t, err, key)
			require.Equal(t, 1, strings.Count(out, "\n"), out)
			at := key[:strings.LastIndex(key, "::")]
			// A section that checks itself says its own part of the key.
			require.True(t, strings.HasPrefix(strings.Replace(out, "forward: ", "forward::", 1), at+":"), out)
			_, err = validate(t, all...)
			require.NoError(t, err, "validate opens no file: %s", key)
		}
	}
}

// TestAckGuardWarns: with mode warn the gateway starts and says why its acks are
// not to be trusted.
func TestAckGuardWarns(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	s.Gateway.Env = append(s.Gateway.Env, "LIFELINE_ACK_GUARD=warn")
	s.Gateway.Configs = append(s.Gateway.Configs, "yaml:exporters::kafka::sending_queue::enabled: true")
	require.NoError(t, s.Gateway.Start(ctx))
	_, err := s.Gateway.P.WaitLine(ctx, "warn", "acks are not to be trusted: exporters::kafka::sending_queue: it is on")
	require.NoError(t, err)
}

// TestAckGuardAsksTheBrokers: topics that keep less than an ack says are named,
// and the gateway runs.
func TestAckGuardAsksTheBrokers(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	require.NoError(t, s.Kafka.Cluster().CreateTopic("weak", 1, map[string]string{
		"cleanup.policy": "compact", "retention.ms": "60000", "max.message.bytes": "1000",
	}))
	s.Gateway.Env = append(s.Gateway.Env, "LIFELINE_LOGS_TOPIC=weak", "LIFELINE_METRICS_TOPIC=nowhere")
	require.NoError(t, s.Gateway.Start(ctx))
	for _, want := range []string{
		"topic weak: replication factor 1: ", "topic weak: min.insync.replicas 1: ", "topic weak: cleanup.policy compact: ",
		"topic weak: retention.ms 60000 (1m0s): ", "topic weak: max.message.bytes 1000 is below ",
		"topic nowhere: it does not exist", "topic " + kafka.TracesTopic + ": replication factor 1: ",
	} {
		_, err := s.Gateway.P.WaitLine(ctx, "warn", "exporters::kafka::"+want)
		require.NoError(t, err)
	}
	require.NoError(t, s.Gateway.Stop(ctx))
}

// TestAckGuardAsksAsTheExporterDoes: what the Collector shows to extensions is
// enough to log in.
func TestAckGuardAsksAsTheExporterDoes(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "gateway", "secret"), kfake.SeedTopics(1, kafka.Topics()...))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	for password, want := range map[string]string{
		"secret": "exporters::kafka::topic otlp_spans: replication factor 1",
		"wrong":  "could not be asked about their topics: ",
	} {
		t.Run(password, func(t *testing.T) {
			s := newStack(t)
			ctx := env.Within(t, 60*time.Second)
			s.Gateway.Env = append(s.Gateway.Env, "LIFELINE_KAFKA="+cluster.ListenAddrs()[0])
			s.Gateway.Configs = append(s.Gateway.Configs, "yaml:exporters::kafka::auth::sasl: {mechanism: SCRAM-SHA-512, username: gateway, password: "+password+"}")
			require.NoError(t, s.Gateway.Start(ctx))
			_, err := s.Gateway.P.WaitLine(ctx, "warn", want)
			require.NoError(t, err)
		})
	}
}

// TestRefusedReload: a gateway that refuses its new configuration stops, so that
// one looks first.
func TestRefusedReload(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	good, err := os.ReadFile(filepath.Join(configs, "gateway.yaml"))
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	require.NoError(t, os.WriteFile(config, good, 0o600)) //nolint:gosec // in a directory of the test
	s.Gateway.Configs = []string{config}
	require.NoError(t, s.Gateway.Start(ctx))

	bad := strings.Replace(string(good), "required_acks: -1", "required_acks: 1", 1)
	require.NotEqual(t, string(good), bad)
	require.NoError(t, os.WriteFile(config, []byte(bad), 0o600)) //nolint:gosec // as above
	faults, code := checkConfig(t, config)
	require.Equal(t, 1, code)
	require.Len(t, faults, 1)

	gateway, err := os.FindProcess(s.Gateway.P.PID())
	require.NoError(t, err)
	require.NoError(t, gateway.Signal(syscall.SIGHUP))
	require.ErrorContains(t, s.Gateway.P.Wait(ctx), faults[0])
	require.NoError(t, ctx.Err(), "it has stopped, and was not stopped")
}

// TestAckGuardWithoutBrokers: brokers that cannot be reached at the start are a
// warning, and no reason to stop.
func TestAckGuardWithoutBrokers(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	s.Kafka.Close()
	require.NoError(t, s.Gateway.Start(ctx))
	_, err := s.Gateway.P.WaitLine(ctx, "warn", "exporters::kafka::brokers: "+s.Kafka.Addr()+" could not be asked")
	require.NoError(t, err)
	require.NoError(t, s.Gateway.Ended(ctx))
	require.NoError(t, s.Gateway.Stop(ctx))
}

// checkConfig runs `lifeline check` and returns the lines and the exit code.
func checkConfig(t *testing.T, sources ...string) ([]string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), lifeline, append([]string{"check"}, sources...)...) //nolint:gosec // our own binary
	out, err := cmd.Output()
	if err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), cmd.ProcessState.ExitCode()
}

// refusedStart starts a gateway and returns its output and its exit code. It
// listens nowhere but on addresses of its own.
func refusedStart(t *testing.T, sources ...string) (string, int) {
	t.Helper()
	addrs, err := proc.FreeAddrs(6)
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(addrs[4])
	require.NoError(t, err)
	var args []string
	for _, source := range sources {
		args = append(args, "--config", source)
	}
	cmd := exec.CommandContext(env.Within(t, 60*time.Second), otelcol, args...) //nolint:gosec // our own binary
	cmd.Env = append(os.Environ(), "LIFELINE_GRPC="+addrs[0], "LIFELINE_HTTP="+addrs[1], "LIFELINE_RECOVERY_HTTP="+addrs[2],
		"LIFELINE_HEALTH="+addrs[3], "LIFELINE_METRICS_PORT="+port, "LIFELINE_STATUS="+addrs[5])
	out, _ := cmd.CombinedOutput() // the caller looks at the exit code
	return string(out), cmd.ProcessState.ExitCode()
}
