// Package deploy_test reads what lies beside it as text, and holds it against the
// shipped configurations: what runs units and images is not here.
package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const unitFile = "systemd/otelcol-lifeline@.service"

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // our own files
	require.NoError(t, err)
	return string(text)
}

// unit reads the unit: section and key, and what was set, in order.
func unit(t *testing.T) map[string][]string {
	t.Helper()
	set, section := map[string][]string{}, ""
	for line := range strings.Lines(read(t, unitFile)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
			require.Contains(t, []string{"Unit", "Service", "Install"}, section)
			continue
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		require.True(t, ok, line)
		key = section + "." + key
		if key != "Service.ExecReload" {
			require.Empty(t, set[key], "%s is set twice", key)
		}
		set[key] = append(set[key], value)
	}
	return set
}

// knob returns the default of a variable in a shipped configuration.
func knob(t *testing.T, config, name string) string {
	t.Helper()
	m := regexp.MustCompile(`\$\{env:` + name + `:-([^}]*)\}`).FindStringSubmatch(read(t, filepath.Join("..", "testdata", "configs", config)))
	require.NotNil(t, m, "%s has no %s", config, name)
	return m[1]
}

func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	require.NoError(t, err)
	return d
}

// A service manager that is less patient than the agent kills it with data in its
// ring; the same for a gateway with a write in progress.
func TestTheUnitWaitsForTheEnd(t *testing.T) {
	patience := seconds(t, unit(t)["Service.TimeoutStopSec"][0])
	require.GreaterOrEqual(t, patience, seconds(t, knob(t, "agent.yaml", "LIFELINE_SHUTDOWN_TIMEOUT"))+5*time.Second)
	m := regexp.MustCompile(`(?m)^    timeout: (\S+)`).FindStringSubmatch(read(t, "../testdata/configs/gateway.yaml"))
	require.NotNil(t, m)
	require.Greater(t, patience, seconds(t, m[1]))
	text := read(t, "container/README.md")
	require.Contains(t, text, "--stop-timeout "+strconv.Itoa(int(patience.Seconds())), "and so does the container")
}

// The unit's paths are those of the shipped configurations, and it asks before a
// reload what would stop the Collector.
func TestTheUnitRunsTheShippedConfigurations(t *testing.T) {
	u := unit(t)
	start := u["Service.ExecStart"][0]
	require.Equal(t, "/usr/bin/otelcol-lifeline --config /etc/lifeline/%i.yaml", start)
	require.Equal(t, "/etc/lifeline", filepath.Dir(knob(t, "agent.yaml", "LIFELINE_RECIPIENTS")))
	require.Equal(t, "/etc/lifeline", filepath.Dir(knob(t, "recovery.yaml", "LIFELINE_IDENTITIES")))
	require.Equal(t, "/var/lib/"+u["Service.StateDirectory"][0], knob(t, "agent.yaml", "LIFELINE_STATE_DIR"))
	require.Equal(t, []string{
		"/usr/bin/otelcol-lifeline validate --config /etc/lifeline/%i.yaml",
		"/usr/bin/lifeline check --collector /usr/bin/otelcol-lifeline /etc/lifeline/%i.yaml",
		"/bin/kill -HUP $MAINPID",
	}, u["Service.ExecReload"])
	require.Equal(t, "always", u["Service.Restart"][0])
	require.Equal(t, "0", u["Unit.StartLimitIntervalSec"][0])
}

// What a stolen agent could do on its host, and where telemetry could get onto a
// disk.
func TestTheUnitIsHardened(t *testing.T) {
	u := unit(t)
	for key, want := range map[string]string{
		"User": "lifeline", "UMask": "0077", "LimitCORE": "0", "MemorySwapMax": "0", "ProtectSystem": "strict",
		"CapabilityBoundingSet": "", "AmbientCapabilities": "", "SystemCallFilter": "@system-service", "SystemCallArchitectures": "native",
	} {
		require.Equal(t, []string{want}, u["Service."+key], key)
	}
	for _, key := range []string{
		"NoNewPrivileges", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute", "LockPersonality", "ProtectClock", "ProtectControlGroups",
		"ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID",
	} {
		require.Equal(t, []string{"yes"}, u["Service."+key], key)
	}
	require.Empty(t, u["Service.Environment"], "no GOGC, no GOMEMLIMIT: neither sees the ring")
	require.Contains(t, read(t, "systemd/lifeline.sysusers.conf"), "u "+u["Service.User"][0]+" - ")
}

// systemd's own opinion, where it is installed.
func TestSystemdReadsTheUnit(t *testing.T) {
	verify, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("there is no systemd-analyze: the unit was read by the other tests alone")
		return
	}
	out, _ := exec.CommandContext(t.Context(), verify, "verify", "--man=no", unitFile).CombinedOutput() //nolint:gosec // systemd's; it fails where the programs are not installed
	for _, wrong := range []string{unitFile, "Unknown", "Failed to parse", "Invalid", "ignoring"} {
		require.NotContains(t, string(out), wrong)
	}
}

// An image with a shell, or root, would give a thief more than the agent has.
func TestTheImageHoldsNothingElse(t *testing.T) {
	text := read(t, "container/Containerfile")
	_, last, ok := strings.Cut(text, "\nFROM scratch\n")
	require.True(t, ok)
	require.NotContains(t, last, "FROM ")
	require.NotContains(t, last, "RUN ")
	require.Regexp(t, `(?m)^USER [1-9][0-9]*:[1-9][0-9]*$`, last, "by number: there is no passwd")
	require.Contains(t, last, `ENTRYPOINT ["/usr/bin/otelcol-lifeline"]`)
	require.Contains(t, last, "VOLUME "+knob(t, "agent.yaml", "LIFELINE_STATE_DIR"))
	require.NotContains(t, text, "GOMEMLIMIT")
	mod := regexp.MustCompile(`(?m)^go (1\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	require.Contains(t, text, "golang:"+mod[1]+" ")
}

// The command that makes the topics fits the gateway that writes them.
func TestTheTopicsFitTheGateway(t *testing.T) {
	text := read(t, "../docs/OPERATIONS.md")
	_, command, ok := strings.Cut(text, "kafka-topics.sh")
	require.True(t, ok)
	command, _, _ = strings.Cut(command, "```")
	set := map[string]string{}
	for _, m := range regexp.MustCompile(`--config (\S+)=(\S+)`).FindAllStringSubmatch(command, -1) {
		set[m[1]] = m[2]
	}
	require.Contains(t, command, "--replication-factor 3")
	require.Equal(t, "2", set["min.insync.replicas"])
	require.Equal(t, "false", set["unclean.leader.election.enable"])
	require.Equal(t, "delete", set["cleanup.policy"])
	retention, err := strconv.ParseInt(set["retention.ms"], 10, 64)
	require.NoError(t, err)
	require.GreaterOrEqual(t, retention, (24 * time.Hour).Milliseconds())
	m := regexp.MustCompile(`max_message_bytes: (\d+)`).FindStringSubmatch(read(t, "../testdata/configs/gateway.yaml"))
	require.NotNil(t, m)
	produced, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	taken, err := strconv.Atoi(set["max.message.bytes"])
	require.NoError(t, err)
	require.GreaterOrEqual(t, taken, produced)
	for _, name := range []string{"LIFELINE_TRACES_TOPIC", "LIFELINE_METRICS_TOPIC", "LIFELINE_LOGS_TOPIC"} {
		require.Contains(t, text, knob(t, "gateway.yaml", name))
	}
}
