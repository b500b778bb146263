package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

// The states of a flare that was to be replayed, besides those of result.
const (
	stateReplayed = "replayed" // every record was acked
	stateSkipped  = "skipped"  // nothing to send: done before, or a drill
	stateRefused  = "refused"  // the server refused records as bad data
	stateBroken   = "broken"   // the server did not take part
	stateKept     = "kept"     // replayed, but it could not be removed
)

// replayFlags are what only replay has.
type replayFlags struct {
	to       string
	state    string
	remove   bool
	patience time.Duration
}

func newFlareReplay() *cobra.Command {
	var flags replayFlags
	c := flareCommand{
		use: "replay", short: "Send what flares hold to an OTLP endpoint",
		long: `Verifies flares as recovery does and sends the records of every good one, as they
are stored, to the OTLP server that --to names, or to recovery's own target with
--config. The answers are judged as recovery judges them: only an ack that proves
itself counts.

It can be interrupted and started again. What was acked is written down in the
--state file, and not sent again; keep that file until all is through. A flare in a
bucket that recovery has taken (done/<id>) is skipped. After a lost ack or a crash
a record may arrive twice, with the same lifeline-batch-id.

Flares stay, unless --delete is given and every record was acked; in a bucket the
done marker is written first, so that no copy is sent again.`,
		needsKey: true, needsTrust: true,
		run: flags.run,
	}.build()
	c.Flags().StringVar(&flags.to, "to", "", "base URL of an OTLP/HTTP server, such as http://gateway:4318 (default: forward in --config)")
	c.Flags().StringVar(&flags.state, "state", "lifeline-replay.state", "file that remembers what was acked")
	c.Flags().BoolVar(&flags.remove, "delete", false, "remove a flare once every record of it was acked")
	c.Flags().DurationVar(&flags.patience, "patience", 2*time.Minute, "how long to go on asking a server that does not take a flare")
	return c
}

func (f *replayFlags) run(c *cobra.Command, d *desk, items []item, asJSON bool) (err error) {
	client, gateway, err := f.target(c.Context(), d)
	if err != nil {
		return err
	}
	defer client.Close()
	seen, err := openJournal(f.state)
	if err != nil {
		return err
	}
	defer func() {
		if e := seen.Close(); err == nil {
			err = e
		}
	}()
	r := &replay{desk: d, forwarder: recovery.NewForwarder(gateway, f.patience), journal: seen, remove: f.remove}
	return tally(c, items, "replayed", func(ctx context.Context, it item) (bool, error) {
		res, err := r.one(ctx, it)
		ok := res.State == stateReplayed || res.State == stateSkipped
		if e := printResult(c, &res, asJSON); err == nil {
			err = e
		}
		return ok, err
	})
}

// target makes the client of the gateway, and says how records go there.
func (f *replayFlags) target(ctx context.Context, d *desk) (otlpsend.Client, recovery.Gateway, error) {
	g := recovery.Gateway{Audience: d.keys.audience, MaxRate: 1 << 40, Timeout: 30 * time.Second}
	var forward flarerecoveryextension.ForwardConfig
	if d.conf != nil {
		forward = d.conf.Forward
		g.Timeout, g.TenantHeader, g.MaxRate = forward.Timeout, forward.TenantHeader, int64(d.conf.MaxRate)
	}
	if f.to != "" {
		http := otlpclient.DefaultHTTP()
		http.Endpoint = f.to
		forward = flarerecoveryextension.ForwardConfig{HTTP: configoptional.Some(http), Timeout: g.Timeout, Compression: string(otlpsend.Zstd)}
		if err := forward.Validate(); err != nil {
			return nil, g, usagef("--to: %w", err)
		}
	} else if d.conf == nil {
		return nil, g, usagef("--to is missing: name an OTLP/HTTP server, or recovery's configuration with --config")
	}
	client, err := otlpclient.New(ctx, forward.Server(), noHost{}, component.TelemetrySettings{
		Logger: zap.NewNop(), MeterProvider: metricnoop.NewMeterProvider(), TracerProvider: tracenoop.NewTracerProvider(),
	})
	if err != nil {
		return nil, g, fmt.Errorf("forward: %w; authenticators of a collector do not run here: use --to, or put what they add under headers", err)
	}
	g.Transport = client
	return client, g, nil
}

// noHost is a collector without extensions.
type noHost struct{}

func (noHost) GetExtensions() map[component.ID]component.Component { return nil }

// replay sends flares one by one.
type replay struct {
	desk      *desk
	forwarder *recovery.Forwarder
	journal   *journal
	remove    bool
}

// one brings a flare to its end. An error ends the work on all others, too.
func (r *replay) one(ctx context.Context, it item) (result, error) {
	if done, err := r.desk.source.done(ctx, it); done || err != nil {
		return skipped(it, "recovery has taken it: done/"+it.id), err
	}
	res, fl := r.desk.verify(ctx, it)
	if fl == nil {
		return res, nil
	}
	if fl.Manifest.Reason == flare.Drill {
		return skipped(it, "a drill: it holds no telemetry"), nil
	}
	switch {
	case !r.journal.done(it.id):
		if err := r.send(ctx, &res, fl); err != nil || res.State != stateGood {
			return res, err
		}
	case !r.remove:
		return skipped(it, "acked before, says the --state file: remove that file to send it again"), nil
	}
	res.State = stateReplayed
	if r.remove {
		if err := r.desk.source.remove(ctx, it, fl, r.desk.opener.Identities); err != nil {
			res.State, res.Error = stateKept, err.Error()
		}
	}
	return res, nil
}

// send sends what is left of a flare. res stays good if all of it is acked now.
func (r *replay) send(ctx context.Context, res *result, fl *flare.Flare) error {
	out, err := r.forwarder.Forward(ctx, fl, r.journal.acked(res.ID))
	if e := r.journal.note(res.ID, out.Acked, err == nil && out.Refused == nil); e != nil {
		return e
	}
	if err != nil {
		res.State, res.Error = stateBroken, err.Error()
		return fmt.Errorf("the server does not take part: %w; start the same command again later: it goes on where it stopped", err)
	}
	if out.Refused != nil {
		res.State, res.Error = stateRefused, out.Refused.Error()
	}
	res.Rejected = out.Rejected
	return nil
}

func skipped(it item, why string) result {
	r := newResult(it)
	r.State, r.Error = stateSkipped, why
	return r
}
