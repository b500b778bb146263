package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/otel-lifeline/lifeline/test/proc"
)

// StartTime is the longest a collector may take to be ready, on a machine that is busy.
const StartTime = 2 * time.Minute

// Role is one collector: how to start it and, while it runs, its process.
type Role struct {
	Name    string
	Configs []string // --config arguments; later ones are merged over earlier ones
	Env     []string // later ones win
	Health  string   // host:port
	Metrics string   // host:port
	Status  string   // host:port of the status page, if the config has one
	P       *proc.Process

	otelcol string
	log     *os.File
}

// Role adds a collector with a config and, besides what all of them get, env.
// Its health, metrics and status addresses are its own. Its output goes to log/<name>.log.
func (s *Stack) Role(name, config string, env ...string) (*Role, error) {
	addrs, err := proc.FreeAddrs(3)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addrs[1])
	if err != nil {
		return nil, err
	}
	log, err := os.Create(s.Path("log", name+".log"))
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	r := &Role{Name: name, Configs: []string{config}, Health: addrs[0], Metrics: addrs[1], Status: addrs[2], otelcol: s.Otelcol, log: log}
	r.Env = append(r.Env, s.env...)
	r.Env = append(r.Env, "LIFELINE_HEALTH="+addrs[0], "LIFELINE_METRICS_PORT="+port, "LIFELINE_STATUS="+addrs[2])
	r.Env = append(r.Env, env...)
	s.roles = append(s.roles, r)
	return r, nil
}

// Start starts the collector and waits until all its pipelines run.
func (r *Role) Start(ctx context.Context) error {
	if err := r.Launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, StartTime)
	defer cancel()
	return r.P.Healthy(ctx, "http://"+r.Health)
}

// Launch starts the collector and does not wait.
func (r *Role) Launch(args ...string) error {
	for _, config := range r.Configs {
		args = append(args, "--config", config)
	}
	p, err := proc.Start(proc.Command{Name: r.Name, Path: r.otelcol, Args: args, Env: r.Env, Log: r.log})
	if err != nil {
		return err
	}
	r.P = p
	return nil
}

// Kill kills the collector with SIGKILL, if it runs.
func (r *Role) Kill() {
	if r.P != nil {
		r.P.Kill()
		r.P = nil
	}
}

// Stop stops the collector with SIGTERM and waits until it is gone.
func (r *Role) Stop(ctx context.Context) error {
	err := r.P.Stop(ctx)
	r.P = nil
	return err
}

// Scrape reads the collector's own metrics.
func (r *Role) Scrape(ctx context.Context) (proc.Samples, error) {
	return proc.Scrape(ctx, "http://"+r.Metrics+"/metrics")
}

// Ended returns an error if the collector was started and has ended by itself.
func (r *Role) Ended(ctx context.Context) error {
	if r.P == nil {
		return nil
	}
	select {
	case <-r.P.Done():
		return errors.Join(fmt.Errorf("%s has ended by itself", r.Name), r.P.Wait(ctx))
	default:
		return nil
	}
}

func (r *Role) close() error {
	r.Kill()
	return r.log.Close()
}
