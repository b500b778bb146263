// Package demo shows the main job on real parts: an agent loses its gateway, its
// ring is about to give data up, flares go to a bucket that the agent can only
// write, the gateway comes back, recovery verifies the flares, and every record
// stands in Kafka. It judges itself, record by record.
//
// Kafka and S3 run inside this process; agent, gateway and recovery are the real
// otelcol-lifeline binary with the shipped configs. It is no benchmark, and one
// broker on one disk says nothing about Kafka's replication.
//
// Run owns all goroutines and child processes; they have ended when it returns.
package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

//go:embed oracle.yaml
var oracleConfig []byte

// Options say what to run.
type Options struct {
	Otelcol  string // the otelcol-lifeline binary
	Lifeline string // the lifeline command
	Configs  string // the directory of the shipped configs
	Out      io.Writer
	Keep     bool // leave everything running when the ledger is printed, until ctx ends
	Times    Times
}

// Times are the demo's clock. All are required.
type Times struct {
	Steady   time.Duration // with everything well, at the start and between the outages
	MaxAge   time.Duration // of data in the agent's ring
	Shutdown time.Duration // the agent's shutdown_timeout
	Poll     time.Duration // recovery's poll_interval
}

// Usual are the times of the demo that people watch.
func Usual() Times {
	return Times{Steady: 8 * time.Second, MaxAge: 12 * time.Second, Shutdown: 10 * time.Second, Poll: 2 * time.Second}
}

// ErrLedger is the demo's own verdict: telemetry was lost or altered, or came
// twice in a way that a consumer could not tell.
var ErrLedger = errors.New("the ledger does not balance")

// script is one run.
type script struct {
	*stack.Stack
	*screen
	*watch
	times  Times
	feed   *feed
	ledger audit.Ledger
}

// Run runs the demo and returns nil only if nothing was lost or altered and
// flares of both kinds were seen: for data about to expire and for a shutdown.
func Run(ctx context.Context, o Options) (err error) {
	for _, path := range []*string{&o.Otelcol, &o.Lifeline, &o.Configs} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(abs); err != nil {
			return fmt.Errorf("%w: run `make build` first, and the demo from the top of the checkout", err)
		}
		*path = abs // S3 runs in another working directory
	}
	s := &script{screen: newScreen(o.Out), times: o.Times}
	dir, err := os.MkdirTemp("", "lifeline-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() {
		if o.Keep || err != nil && ctx.Err() == nil {
			s.eventf("state and logs are kept in %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	s.eventf("starting Kafka and S3 in this process; making keys")
	s.Stack, err = stack.New(ctx, stack.Options{Otelcol: o.Otelcol, Lifeline: o.Lifeline, Configs: o.Configs, Dir: dir})
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return err
	}
	if err := s.adjust(); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil || !o.Keep {
		return err
	}
	return s.keep(ctx)
}

// adjust sets the demo's times and puts the oracle beside the lifeline exporter.
func (s *script) adjust() error {
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL="+s.times.Poll.String())
	s.Agent.Env = append(s.Agent.Env, "DEMO_ORACLE="+s.Path("oracle"),
		"LIFELINE_MAX_AGE="+s.times.MaxAge.String(), "LIFELINE_SHUTDOWN_TIMEOUT="+s.times.Shutdown.String())
	s.Agent.Configs = append(s.Agent.Configs, s.Path("oracle.yaml"))
	return os.WriteFile(s.Path("oracle.yaml"), oracleConfig, 0o600)
}

// play runs the script's scenes one after the other.
func (s *script) play(ctx context.Context) error {
	var err error
	if s.watch, err = newWatch(ctx, s.Stack, s.screen); err != nil {
		return err
	}
	defer s.unwatch()
	for _, scene := range []func(context.Context) error{
		s.steady, s.loseGateway, s.gatewayBack, s.stopAgent, s.lastRecovery, s.judge,
	} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	return nil
}

// steady starts everything and lets it run for a while.
func (s *script) steady(ctx context.Context) error {
	for _, r := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		if err := r.Start(ctx); err != nil {
			return err
		}
		s.eventf("%s is up (pid %d)", r.Name, r.P.PID())
	}
	if err := s.until(ctx, stack.StartTime, "the agent can flare", func(st *state) bool { return st.ready }); err != nil {
		return err
	}
	s.eventf("agent: flares are ready: keys parsed, self-test passed, the bucket refuses to be listed")
	var err error
	if s.feed, err = startFeed(ctx, s.Addr.AgentHTTP, s.Path("app.log")); err != nil {
		return err
	}
	s.eventf("input: this host's metrics every second, a growing log file, %d spans a second over OTLP", stack.SpansPerRequest)
	if err := s.hold(ctx, s.times.Steady); err != nil {
		return err
	}
	return s.until(ctx, stack.StartTime, "telemetry is in Kafka", func(st *state) bool { return st.items > 0 })
}

// loseGateway kills the gateway and waits for what the agent does about it.
func (s *script) loseGateway(ctx context.Context) error {
	s.Gateway.Kill()
	s.eventf("gateway killed (SIGKILL); the agent holds its data and keeps trying, up to max_age %s", s.times.MaxAge)
	old := s.times.MaxAge / 2
	if err := s.until(ctx, s.times.MaxAge, "data gets old", func(st *state) bool { return st.oldest > old }); err != nil {
		return err
	}
	s.eventf("the oldest data in the ring is %.1f s old: about to expire", s.now.oldest.Seconds())
	err := s.until(ctx, s.times.MaxAge+stack.StartTime, "a flare is in the bucket", func(*state) bool { return s.reasons[flare.Expired] > 0 })
	if err != nil {
		return err
	}
	if err := s.refused(ctx); err != nil {
		return err
	}
	return s.hold(ctx, s.times.Steady/2)
}

// gatewayBack starts the gateway again and waits until all is as before.
func (s *script) gatewayBack(ctx context.Context) error {
	if err := s.Gateway.Start(ctx); err != nil {
		return err
	}
	s.eventf("gateway is back (pid %d); the agent sends what it holds, recovery what it finds", s.Gateway.P.PID())
	err := s.until(ctx, time.Minute, "the bucket is empty and the ring holds fresh data only", func(st *state) bool {
		return st.known && st.flares == 0 && st.oldest < 3*time.Second
	})
	if err != nil {
		return err
	}
	s.eventf("drained: the bucket is empty, the ring holds fresh data only")
	return s.hold(ctx, s.times.Steady)
}

// stopAgent stops the agent when the gateway is down again: it must put all it
// holds into the bucket before it exits.
func (s *script) stopAgent(ctx context.Context) error {
	s.Gateway.Kill()
	s.eventf("gateway killed again (SIGKILL)")
	if err := s.hold(ctx, 2*time.Second); err != nil {
		return err
	}
	acked, err := s.feed.stop() // its last request was answered: no doubt about what was accepted
	if err != nil {
		return err
	}
	for _, request := range acked {
		if err := s.ledger.Accept(frame.Traces, request); err != nil {
			return err
		}
	}
	s.eventf("agent stopped (SIGTERM), its ring holds %d items", s.now.held)
	ctx2, cancel := context.WithTimeout(ctx, s.times.Shutdown+stack.StartTime)
	defer cancel()
	begin := time.Now()
	if err := s.Agent.Stop(ctx2); err != nil {
		return err
	}
	s.eventf("agent is gone after %.1f s", time.Since(begin).Seconds())
	return s.until(ctx, stack.StartTime, "the shutdown's flare is in the bucket", func(*state) bool { return s.reasons[flare.Shutdown] > 0 })
}

// lastRecovery starts the gateway again, with no agent left to send anything.
func (s *script) lastRecovery(ctx context.Context) error {
	if err := s.Gateway.Start(ctx); err != nil {
		return err
	}
	s.eventf("gateway is back (pid %d); only recovery has something to send", s.Gateway.P.PID())
	err := s.until(ctx, time.Minute, "the bucket is empty", func(st *state) bool { return st.known && st.flares == 0 })
	if err != nil {
		return err
	}
	s.eventf("drained: the bucket is empty")
	return nil
}

// judge compares what the agent accepted with what Kafka holds.
func (s *script) judge(ctx context.Context) error {
	s.eventf("reading Kafka from the first offset to the last, comparing record by record")
	for _, signal := range []frame.Signal{frame.Metrics, frame.Logs} {
		if err := acceptFile(&s.ledger, signal, s.Path("oracle", signal.String()+".binpb")); err != nil {
			return err
		}
	}
	records, err := s.Kafka.Read(ctx)
	if err != nil {
		return err
	}
	if err := addKafka(&s.ledger, records); err != nil {
		return err
	}
	var rows []audit.Row
	ok := true
	for _, signal := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		row := s.ledger.Row(signal)
		rows = append(rows, row)
		ok = ok && balances(row)
	}
	s.table(rows)
	if !ok {
		return ErrLedger
	}
	s.eventf("nothing lost, nothing altered; flares seen: %s", s.reasons)
	return nil
}

// balances reports whether a signal came through: all of it, only it, and every
// copy beyond the first so marked that a consumer can drop it. No data is no proof.
func balances(r audit.Row) bool {
	return r.Accepted > 0 && r.OK() && r.Duplicates == r.Marked
}

// keep starts the agent and the feed again and leaves everything running.
func (s *script) keep(ctx context.Context) error {
	if err := s.Agent.Start(ctx); err != nil {
		return err
	}
	feed, err := startFeed(ctx, s.Addr.AgentHTTP, s.Path("app.log"))
	if err != nil {
		return err
	}
	s.eventf("everything runs until Ctrl-C")
	s.where()
	<-ctx.Done()
	_, err = feed.stop()
	return err
}

// where prints the addresses of everything that runs.
func (s *script) where() {
	s.eventf("  agent     OTLP http://%s, gRPC %s, log file %s, metrics http://%s/metrics, status http://%s/lifeline",
		s.Addr.AgentHTTP, s.Addr.AgentGRPC, s.Path("app.log"), s.Agent.Metrics, s.Agent.Status)
	s.eventf("  gateway   OTLP http://%s, gRPC %s, metrics http://%s/metrics, status http://%s/lifeline, pid %d",
		s.Addr.GatewayHTTP, s.Addr.GatewayGRPC, s.Gateway.Metrics, s.Gateway.Status, s.Gateway.P.PID())
	s.eventf("  recovery  metrics http://%s/metrics, status http://%s/lifeline", s.Recovery.Metrics, s.Recovery.Status)
	s.eventf("  Kafka     %s", s.Kafka.Addr())
	s.eventf("  S3        %s, bucket %s, credentials in %s", s.S3.Endpoint(), s3.Bucket, s.Path("keys"))
}
