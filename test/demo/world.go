package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/s3"
)

const (
	principal = "acme/host-17"
	audience  = "acme-prod"
	startTime = 30 * time.Second // the longest a program may take to be ready
)

// world is everything the demo runs: two servers inside this process, three
// collectors as children, one directory for all state.
type world struct {
	opts  Options
	dir   string
	addr  addresses
	env   []string // common to all collectors
	kafka *kafka.Broker
	s3    *s3.Server
	guard *s3.Guard // in front of S3 for the agent: refuses what AWS would
	logs  []*os.File

	gateway, recovery, agent *role
}

// addresses are the listeners of the collectors, all on loopback.
type addresses struct {
	gatewayHTTP, gatewayGRPC, gatewayRecovery string
	agentHTTP, agentGRPC                      string
}

// role is one collector: how to start it, and its process while it runs.
type role struct {
	name            string
	args, env       []string
	health, metrics string // addresses
	log             *os.File
	p               *proc.Process
}

// newWorld makes keys and state and starts Kafka and S3, but no collector.
// Close must be called, also after an error.
func newWorld(ctx context.Context, o Options) (*world, error) {
	w := &world{opts: o}
	dir, err := os.MkdirTemp("", "lifeline-demo-")
	if err != nil {
		return w, fmt.Errorf("make a directory for the demo: %w", err)
	}
	w.dir = dir
	for _, sub := range []string{"kafka", "s3", "keys", "oracle", "flares", "agent", "log"} {
		if err := os.Mkdir(w.path(sub), 0o700); err != nil {
			return w, fmt.Errorf("make a directory for the demo: %w", err)
		}
	}
	if err := os.WriteFile(w.path("oracle.yaml"), oracleConfig, 0o600); err != nil {
		return w, err
	}
	if err := os.WriteFile(w.path("app.log"), nil, 0o600); err != nil {
		return w, err
	}
	if w.kafka, err = kafka.Start(w.path("kafka")); err != nil {
		return w, err
	}
	if w.s3, err = s3.Start(ctx, s3.Options{Dir: w.path("s3")}); err != nil {
		return w, err
	}
	if w.guard, err = s3.StartGuard(ctx, "", w.s3.Addr()); err != nil {
		return w, err
	}
	if err := w.makeKeys(ctx); err != nil {
		return w, err
	}
	return w, w.makeRoles()
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

// close ends everything and removes the state, unless keep says that somebody
// wants to look at it.
func (w *world) close(keep bool) error {
	for _, r := range []*role{w.agent, w.recovery, w.gateway} {
		if r != nil && r.p != nil {
			r.p.Kill()
		}
	}
	if w.kafka != nil {
		w.kafka.Close()
	}
	var err error
	if w.guard != nil {
		err = w.guard.Close()
	}
	if w.s3 != nil {
		err = errors.Join(err, w.s3.Stop())
	}
	for _, f := range w.logs {
		err = errors.Join(err, f.Close())
	}
	if !keep && w.dir != "" {
		err = errors.Join(err, os.RemoveAll(w.dir))
	}
	return err
}

// makeKeys lets the lifeline command make the keys, as an operator would: one
// for recovery, one for the safe, one for the agent.
func (w *world) makeKeys(ctx context.Context) error {
	var recipients []string
	for _, name := range []string{"recovery.key", "break-glass.key"} {
		out, err := w.lifeline(ctx, "keygen", "recovery", "--classic", "--output", w.path("keys", name))
		if err != nil {
			return err
		}
		recipients = append(recipients, out)
	}
	signer, err := w.lifeline(ctx, "keygen", "agent", "--output", w.path("keys", "agent_ed25519"), "--principal", principal)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(w.path("keys", "recipients.txt"), []byte(strings.Join(recipients, "")), 0o600),
		os.WriteFile(w.path("keys", "allowed_signers"), []byte(signer), 0o600),
		s3.Writer.WriteFile(w.path("keys", "s3-agent")),
		s3.Recovery.WriteFile(w.path("keys", "s3-recovery")),
	)
}

// lifeline runs the command to its end and returns what it printed.
func (w *world) lifeline(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, w.opts.Lifeline, args...) //nolint:gosec // the caller's own binary
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("lifeline %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	} else if err != nil {
		return "", fmt.Errorf("run the lifeline command: %w", err)
	}
	return string(out), nil
}

func (w *world) makeRoles() error {
	addrs, err := proc.FreeAddrs(11)
	if err != nil {
		return err
	}
	w.addr = addresses{addrs[0], addrs[1], addrs[2], addrs[3], addrs[4]}
	w.env = append(cleanEnv(),
		"LIFELINE_KAFKA="+w.kafka.Addr(),
		"LIFELINE_AUDIENCE="+audience,
		"LIFELINE_BUCKET="+s3.Bucket,
		"LIFELINE_REGION="+s3.Region,
		"LIFELINE_S3_ENDPOINT="+w.s3.Endpoint(),
		"LIFELINE_S3_PATH_STYLE=true",
	)
	w.gateway, err = w.role("gateway", addrs[5:7], nil,
		"LIFELINE_HTTP="+w.addr.gatewayHTTP, "LIFELINE_GRPC="+w.addr.gatewayGRPC, "LIFELINE_RECOVERY_HTTP="+w.addr.gatewayRecovery)
	if err != nil {
		return err
	}
	w.recovery, err = w.role("recovery", addrs[7:9], nil,
		"LIFELINE_RECOVERY_CREDENTIALS="+w.path("keys", "s3-recovery"),
		"LIFELINE_IDENTITIES="+w.path("keys", "recovery.key"),
		"LIFELINE_ALLOWED_SIGNERS="+w.path("keys", "allowed_signers"),
		"LIFELINE_FORWARD=http://"+w.addr.gatewayRecovery,
		"LIFELINE_POLL_INTERVAL="+w.opts.Times.Poll.String())
	if err != nil {
		return err
	}
	w.agent, err = w.role("agent", addrs[9:11], []string{w.path("oracle.yaml")},
		"DEMO_ORACLE="+w.path("oracle"),
		"LIFELINE_AGENT="+principal,
		"LIFELINE_GATEWAY=http://"+w.addr.gatewayHTTP,
		"LIFELINE_OTLP_HTTP="+w.addr.agentHTTP, "LIFELINE_OTLP_GRPC="+w.addr.agentGRPC,
		"LIFELINE_LOG_FILE="+w.path("app.log"),
		"LIFELINE_STATE_DIR="+w.path("agent"),
		"LIFELINE_S3_ENDPOINT="+w.guard.Endpoint(),
		"LIFELINE_MAX_AGE="+w.opts.Times.MaxAge.String(),
		"LIFELINE_SHUTDOWN_TIMEOUT="+w.opts.Times.Shutdown.String(),
		"LIFELINE_AGENT_CREDENTIALS="+w.path("keys", "s3-agent"),
		"LIFELINE_RECIPIENTS="+w.path("keys", "recipients.txt"),
		"LIFELINE_SIGNING_KEY="+w.path("keys", "agent_ed25519"))
	return err
}

// role describes a collector with the shipped config of that name. addrs are
// its health and its metrics address.
func (w *world) role(name string, addrs, overlays []string, env ...string) (*role, error) {
	log, err := os.Create(w.path("log", name+".log"))
	if err != nil {
		return nil, err
	}
	w.logs = append(w.logs, log)
	_, port, err := net.SplitHostPort(addrs[1])
	if err != nil {
		return nil, err
	}
	r := &role{name: name, health: addrs[0], metrics: addrs[1], log: log}
	for _, config := range append([]string{filepath.Join(w.opts.Configs, name+".yaml")}, overlays...) {
		r.args = append(r.args, "--config", config)
	}
	r.env = append(r.env, w.env...)
	r.env = append(r.env, "LIFELINE_HEALTH="+addrs[0], "LIFELINE_METRICS_PORT="+port)
	r.env = append(r.env, env...)
	return r, nil
}

// start starts the collector and waits until all its pipelines run.
func (w *world) start(ctx context.Context, r *role) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	p, err := proc.Start(proc.Command{Name: r.name, Path: w.opts.Otelcol, Args: r.args, Env: r.env, Log: r.log})
	if err != nil {
		return err
	}
	r.p = p
	return p.Healthy(ctx, "http://"+r.health)
}

// scrape reads the collector's own metrics.
func (r *role) scrape(ctx context.Context) (proc.Samples, error) {
	return proc.Scrape(ctx, "http://"+r.metrics+"/metrics")
}

// cleanEnv is this process's environment without what could change a
// collector's config or give it real credentials.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LIFELINE_") && !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(strings.ToUpper(kv), "HTTP_PROXY=") {
			env = append(env, kv)
		}
	}
	return env
}

// show prints where everything is.
func (w *world) show(line func(format string, args ...any)) {
	line("  agent     OTLP http://%s, gRPC %s, log file %s, metrics http://%s/metrics", w.addr.agentHTTP, w.addr.agentGRPC, w.path("app.log"), w.agent.metrics)
	line("  gateway   OTLP http://%s, gRPC %s, metrics http://%s/metrics, pid %d", w.addr.gatewayHTTP, w.addr.gatewayGRPC, w.gateway.metrics, w.gateway.p.PID())
	line("  recovery  metrics http://%s/metrics", w.recovery.metrics)
	line("  Kafka     %s", w.kafka.Addr())
	line("  S3        %s, bucket %s, credentials %s", w.s3.Endpoint(), s3.Bucket, w.path("keys"))
	line("  state     %s", w.dir)
}
