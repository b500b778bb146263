package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter"
	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// putTimeout bounds one call to the bucket of an agent.
const putTimeout = 30 * time.Second

type drillFlags struct {
	recovery string
	timeout  time.Duration
	json     bool
}

// drilled is what came out of one drill: the JSON of --json.
type drilled struct {
	Exporter  string  `json:"exporter"`
	Bucket    string  `json:"bucket"`
	FlareID   string  `json:"flare_id,omitempty"`
	State     string  `json:"state"` // stored, recovered or failed
	Stored    float64 `json:"stored_seconds,omitempty"`
	Recovered float64 `json:"recovered_seconds,omitempty"` // since the PUT began
	Error     string  `json:"error,omitempty"`
}

// The states of a drill.
const (
	drillStored    = "stored"
	drillRecovered = "recovered"
	drillFailed    = "failed"
)

func newDrill() *cobra.Command {
	var flags drillFlags
	c := &cobra.Command{
		Use: "drill [flags] CONFIG", Short: "Prove that an agent's flares find their way",
		Long: `Seals a drill, one marked record, with the keys in the agent's CONFIG and puts it
into each of its buckets with the agent's credentials, as the agent would. Run it on
the agent's host: then it also proves that host's network.

With --recovery it waits until recovery has opened, verified and decoded the drill
(done/<id> is there) and prints how long that took. Without, it says "stored", and
whether anybody can open it is not known. A drill is never forwarded.`,
		DisableFlagsInUseLine: true,
		Args:                  usageArgs(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return flags.run(c, args[0])
		},
	}
	c.Flags().StringVar(&flags.recovery, "recovery", "", "recovery's configuration: wait until it has taken the drill")
	c.Flags().DurationVar(&flags.timeout, "timeout", 5*time.Minute, "how long to wait for recovery")
	c.Flags().BoolVar(&flags.json, "json", false, "print one JSON object per bucket and line")
	return c
}

func (f *drillFlags) run(c *cobra.Command, config string) error {
	agents, err := loadAgents(c.Context(), config)
	if err != nil {
		return err
	}
	all, failed := 0, 0
	for _, a := range agents {
		for _, b := range a.cfg.Flare.Get().Buckets {
			all++
			d := f.one(c, a, b)
			if d.State == drillFailed {
				failed++
			}
			if err := d.print(c, f.json); err != nil {
				return err
			}
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d drills failed", failed, all)
	}
	if f.recovery == "" {
		fmt.Fprintln(c.ErrOrStderr(), "lifeline: stored only: whether recovery can open it is told by --recovery CONFIG, or by its metrics")
	}
	return nil
}

// one drills one bucket.
func (f *drillFlags) one(c *cobra.Command, a agentConfig, cfg s3bucket.Config) drilled {
	d := drilled{Exporter: a.id.String(), Bucket: cfg.Bucket + "/" + cfg.Prefix, State: drillFailed}
	var notes *recovery.Notes
	if f.recovery != "" {
		conf, err := loadRecovery(c.Context(), f.recovery, cfg.Bucket)
		if err == nil {
			notes, err = notesOf(conf.S3, conf.StatePrefix)
		}
		if err != nil {
			d.Error = fmt.Sprintf("--recovery: %v", err)
			return d
		}
	}
	began := time.Now()
	id, err := a.put(c, cfg)
	if d.FlareID = id; err != nil {
		d.Error = err.Error()
		return d
	}
	d.State, d.Stored = drillStored, time.Since(began).Seconds()
	if notes == nil {
		return d
	}
	if err := await(c.Context(), notes, id, f.timeout); err != nil {
		d.State, d.Error = drillFailed, fmt.Sprintf("%v; `lifeline flare verify --config %s %s` says why, if it is still there; see also its log and metrics", err, f.recovery, id)
		return d
	}
	d.State, d.Recovered = drillRecovered, time.Since(began).Seconds()
	return d
}

func notesOf(cfg s3bucket.Config, statePrefix string) (*recovery.Notes, error) {
	client, err := s3bucket.New(cfg)
	if err != nil {
		return nil, err
	}
	return recovery.NotesIn(client, statePrefix), nil
}

// await waits for the done marker of a flare.
func await(ctx context.Context, notes *recovery.Notes, id string, timeout time.Duration) error {
	end := time.NewTimer(timeout)
	defer end.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		done, err := notes.Done(ctx, id)
		if err != nil {
			return fmt.Errorf("look for done/%s: %w%s", id, err, hint(err))
		}
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-end.C:
			return fmt.Errorf("recovery has not taken it within %v", timeout)
		case <-ctx.Done():
			return errors.New("interrupted before recovery had taken it")
		}
	}
}

func (d *drilled) print(c *cobra.Command, asJSON bool) error {
	if asJSON {
		return printJSON(c.OutOrStdout(), d)
	}
	text := fmt.Sprintf("%-10s %s  %s", d.State, d.Bucket, d.FlareID)
	switch d.State {
	case drillFailed:
		text = fmt.Sprintf("%-10s %s  %s", d.State, d.Bucket, d.Error)
	case drillStored:
		text += fmt.Sprintf("  in %.1f s", d.Stored)
	case drillRecovered:
		text += fmt.Sprintf("  stored in %.1f s, recovered in %.1f s", d.Stored, d.Recovered)
	}
	return printLine(c.OutOrStdout(), text)
}

// agentConfig is a lifeline exporter with a fallback.
type agentConfig struct {
	id  component.ID
	cfg *lifelineexporter.Config
}

// loadAgents reads the exporters of a configuration that make flares.
func loadAgents(ctx context.Context, file string) ([]agentConfig, error) {
	conf, err := collectorconf.Load(ctx, []string{file})
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var found []agentConfig
	f := lifelineexporter.NewFactory()
	err = collectorconf.Each(conf, "exporters", f.Type(), func(id component.ID, sub *confmap.Conf) error {
		cfg := f.CreateDefaultConfig().(*lifelineexporter.Config)
		if err := sub.Unmarshal(cfg); err != nil {
			return err
		}
		if cfg.Flare.HasValue() {
			found = append(found, agentConfig{id, cfg})
		}
		return confmap.Validate(cfg)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w; `lifeline check %s` says more", file, err, file)
	}
	if len(found) == 0 {
		return nil, usagef("%s: it has no lifeline exporter with flare: name an agent's configuration", file)
	}
	return found, nil
}

// put seals a drill and stores it.
func (a agentConfig) put(c *cobra.Command, cfg s3bucket.Config) (id string, err error) {
	sealer, err := a.cfg.Flare.Get().Sealer()
	if err != nil {
		return "", err
	}
	client, err := s3bucket.New(cfg)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context(), putTimeout)
	defer cancel()
	err = client.Probe(ctx) // tells the time, too
	if errors.Is(err, s3bucket.ErrCanRead) {
		fmt.Fprintf(c.ErrOrStderr(), "lifeline: warning: %s: %v\n", cfg.Bucket, err)
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("%w; check name, region, endpoint and credentials of the bucket", err)
	}
	m, sealed, err := sealDrill(a.cfg.AgentName(sealer), a.cfg.Audience, sealer, time.Now().Add(client.ClockOffset()))
	if err != nil {
		return "", err
	}
	_, err = client.Put(ctx, flare.Key(cfg.Prefix, m.FlareID), frame.Bytes(sealed), bucket.PutOptions{IfNoneMatch: true})
	if bucket.KindOf(err) == bucket.Denied {
		return m.FlareID, fmt.Errorf("%w; the agent's key must be allowed to put objects below %s", err, cfg.Prefix)
	}
	if err != nil {
		return m.FlareID, fmt.Errorf("%w%s", err, hint(err))
	}
	return m.FlareID, nil
}

// sealDrill makes a drill as an agent does, of a boot of its own.
func sealDrill(agent, audience string, sealer *flare.Sealer, now time.Time) (*flare.Manifest, []byte, error) {
	m := &flare.Manifest{
		Audience: audience, Agent: agent, BootID: frame.RandomHex(), Seq: 1, Reason: flare.Drill,
		Created: flare.TimeOf(now), Oldest: flare.TimeOf(now), Newest: flare.TimeOf(now), Report: flare.Report{Version: version().Version},
	}
	piece, err := otlpcodec.EncodeDrill(otlpcodec.Drill{Agent: agent, Boot: m.BootID, Version: version().Version, Time: now})
	if err != nil {
		return nil, nil, fmt.Errorf("make the drill: %w", err)
	}
	var stored, sealed bytes.Buffer
	if err := otlpcodec.Compress(&stored, piece.Raw); err != nil {
		return nil, nil, fmt.Errorf("make the drill: %w", err)
	}
	err = sealer.Seal(&sealed, m, []frame.Frame{{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len(piece.Raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{Items: piece.Items},
	}})
	if err != nil {
		return nil, nil, fmt.Errorf("make the drill: %w", err)
	}
	return m, sealed.Bytes(), nil
}
