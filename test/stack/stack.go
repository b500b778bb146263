// Package stack puts a whole deployment on one host, for the demo and for the
// end-to-end tests: Kafka and S3 inside this process, collectors with the shipped
// configs as child processes, keys made by the lifeline command, every address on
// loopback and every file below one directory.
//
// A Stack owns the servers and children until Close. It decides nothing: what is
// started, killed and waited for is the caller's script. It must not be used
// concurrently.
package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/s3"
)

// Who the agent is, and for whom its data is.
const (
	Principal = "acme/host-17"
	Audience  = "acme-prod"
)

// Options say what the stack is made of. Paths must be absolute: the S3 server
// changes the working directory.
type Options struct {
	Otelcol  string // the otelcol-lifeline binary
	Lifeline string // the lifeline command
	Configs  string // the directory of the shipped configs
	Dir      string // an empty directory for all state
	Brokers  string // host:port of brokers that run elsewhere, separated by commas; empty: the stack starts its own
}

// Stack is a running deployment.
type Stack struct {
	Options
	Addr  Addresses
	Kafka *kafka.Broker // nil with Options.Brokers
	S3    *s3.Server
	Guard *s3.Guard // in front of S3, for the agent: refuses what AWS would, and injects faults

	Gateway, Recovery, Agent, Consumer *Role

	roles []*Role
	env   []string // common to all collectors
}

// Addresses are the listeners of the collectors, each host:port.
type Addresses struct {
	GatewayHTTP, GatewayGRPC, GatewayRecovery string
	AgentHTTP, AgentGRPC                      string
}

// New makes keys and state and starts Kafka and S3, but no collector. Close must
// be called on the Stack, also after an error.
func New(ctx context.Context, o Options) (*Stack, error) {
	s, err := NewGateway(o)
	if err != nil {
		return s, err
	}
	if s.S3, err = s3.Start(ctx, s3.Options{Dir: s.Path("s3")}); err != nil {
		return s, err
	}
	if s.Guard, err = s3.StartGuard(ctx, "", s.S3.Addr()); err != nil {
		return s, err
	}
	if err := s.makeKeys(ctx); err != nil {
		return s, err
	}
	return s, s.makeRoles()
}

// NewGateway is New without S3, keys and the roles that need them: there is the
// gateway alone, and Kafka. Any number of such stacks may run at once.
func NewGateway(o Options) (*Stack, error) {
	s := &Stack{Options: o}
	for _, sub := range []string{"kafka", "s3", "keys", "oracle", "flares", "agent", "consumer", "log"} {
		if err := os.Mkdir(s.Path(sub), 0o700); err != nil {
			return s, fmt.Errorf("make the state: %w", err)
		}
	}
	err := os.WriteFile(s.Path("app.log"), nil, 0o600)
	if err != nil {
		return s, fmt.Errorf("make the state: %w", err)
	}
	if s.Brokers == "" {
		if s.Kafka, err = kafka.Start(s.Path("kafka")); err != nil {
			return s, err
		}
		s.Brokers = s.Kafka.Addr()
	}
	return s, s.makeGateway()
}

// Path returns a path below the stack's directory.
func (s *Stack) Path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// Close kills the collectors and stops the servers. Files stay.
func (s *Stack) Close() error {
	var err error
	for _, r := range s.roles {
		err = errors.Join(err, r.close())
	}
	if s.Kafka != nil {
		s.Kafka.Close()
	}
	if s.Guard != nil {
		err = errors.Join(err, s.Guard.Close())
	}
	if s.S3 != nil {
		err = errors.Join(err, s.S3.Stop())
	}
	return err
}

// makeKeys lets the lifeline command make the keys, as an operator would: one
// for recovery, one for the safe, one for the agent.
func (s *Stack) makeKeys(ctx context.Context) error {
	var recipients strings.Builder
	for _, name := range []string{"recovery.key", "break-glass.key"} {
		public, err := s.Run(ctx, "keygen", "recovery", "--classic", "--output", s.Path("keys", name))
		if err != nil {
			return err
		}
		recipients.WriteString(public)
	}
	signer, err := s.Run(ctx, "keygen", "agent", "--output", s.Path("keys", "agent_ed25519"), "--principal", Principal)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(s.Path("keys", "recipients.txt"), []byte(recipients.String()), 0o600),
		os.WriteFile(s.Path("keys", "allowed_signers"), []byte(signer), 0o600),
		s3.Writer.WriteFile(s.Path("keys", "s3-agent")),
		s3.Recovery.WriteFile(s.Path("keys", "s3-recovery")),
	)
}

// Run runs the lifeline command to its end and returns what it printed.
func (s *Stack) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Lifeline, args...) //nolint:gosec // the caller's own binary
	cmd.Env = cleanEnv()
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("lifeline %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	} else if err != nil {
		return "", fmt.Errorf("run the lifeline command: %w", err)
	}
	return string(out), nil
}

// Verify checks a flare's file with recovery's keys, as an operator would.
func (s *Stack) Verify(ctx context.Context, file string) (Verdict, error) {
	out, err := s.Run(ctx, "flare", "verify", "--json", "--identities", s.Path("keys", "recovery.key"),
		"--allowed-signers", s.Path("keys", "allowed_signers"), "--audience", Audience, file)
	if err != nil {
		return Verdict{}, err
	}
	return parseVerdict(out)
}

func (s *Stack) makeGateway() error {
	addrs, err := proc.FreeAddrs(5)
	if err != nil {
		return err
	}
	s.Addr = Addresses{addrs[0], addrs[1], addrs[2], addrs[3], addrs[4]}
	s.env = append(cleanEnv(), "LIFELINE_KAFKA="+s.Brokers, "LIFELINE_AUDIENCE="+Audience)
	s.Gateway, err = s.Role("gateway", s.shipped("gateway"),
		"LIFELINE_HTTP="+s.Addr.GatewayHTTP, "LIFELINE_GRPC="+s.Addr.GatewayGRPC,
		"LIFELINE_RECOVERY_HTTP="+s.Addr.GatewayRecovery)
	if err == nil && strings.Contains(s.Brokers, ",") { // the variable takes one broker
		s.Gateway.Configs = append(s.Gateway.Configs, "yaml:exporters::kafka::brokers: ["+s.Brokers+"]")
	}
	return err
}

func (s *Stack) makeRoles() error {
	s.env = append(s.env,
		"LIFELINE_BUCKET="+s3.Bucket,
		"LIFELINE_REGION="+s3.Region,
		"LIFELINE_S3_ENDPOINT="+s.S3.Endpoint(),
		"LIFELINE_S3_PATH_STYLE=true",
	)
	var err error
	if s.Recovery, err = s.Role("recovery", s.shipped("recovery"),
		"LIFELINE_RECOVERY_CREDENTIALS="+s.Path("keys", "s3-recovery"),
		"LIFELINE_IDENTITIES="+s.Path("keys", "recovery.key"),
		"LIFELINE_ALLOWED_SIGNERS="+s.Path("keys", "allowed_signers"),
		"LIFELINE_FORWARD=http://"+s.Addr.GatewayRecovery); err != nil {
		return err
	}
	if s.Consumer, err = s.Role("consumer", s.shipped("consumer"), "LIFELINE_OUT_DIR="+s.Path("consumer")); err != nil {
		return err
	}
	s.Agent, err = s.Role("agent", s.shipped("agent"),
		"LIFELINE_AGENT="+Principal,
		"LIFELINE_GATEWAY=http://"+s.Addr.GatewayHTTP,
		"LIFELINE_OTLP_HTTP="+s.Addr.AgentHTTP, "LIFELINE_OTLP_GRPC="+s.Addr.AgentGRPC,
		"LIFELINE_LOG_FILE="+s.Path("app.log"),
		"LIFELINE_STATE_DIR="+s.Path("agent"),
		"LIFELINE_AGENT_CREDENTIALS="+s.Path("keys", "s3-agent"),
		"LIFELINE_RECIPIENTS="+s.Path("keys", "recipients.txt"), "LIFELINE_DRILL_INTERVAL=0",
		"LIFELINE_SIGNING_KEY="+s.Path("keys", "agent_ed25519"),
		"LIFELINE_S3_ENDPOINT="+s.Guard.Endpoint())
	return err
}

func (s *Stack) shipped(name string) string { return filepath.Join(s.Configs, name+".yaml") }

// cleanEnv is this process's environment without what could change a
// collector's config or give it real credentials.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(kv), "=")
		if !strings.HasPrefix(name, "LIFELINE_") && !strings.HasPrefix(name, "AWS_") && !strings.HasSuffix(name, "_PROXY") {
			env = append(env, kv)
		}
	}
	return env
}
