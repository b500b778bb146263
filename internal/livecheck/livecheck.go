// Package livecheck asks the network what a configuration cannot tell: whether
// buckets and gateways answer, whether credentials can do what they must and no
// more, whether clocks agree, and what would break together. It is the --live of
// `lifeline check`.
//
// It leaves nothing behind but recovery's probe in quarantine, sends no telemetry,
// and has no goroutines.
package livecheck

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter"
	"github.com/otel-lifeline/lifeline/extension/ackguardextension"
	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/ackrules"
	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

const (
	// callTimeout bounds one question.
	callTimeout = 20 * time.Second
	// maxSkew is how far a clock may be off before it is worth a word. S3 refuses
	// signatures at 15 minutes, and recovery flares at 24 hours.
	maxSkew = time.Minute
)

// Report is what was found out. Every line names the place first.
type Report struct {
	Faults   []string // it will not work, or not be safe
	Warnings []string // it works, and a person should know
	Proven   []string // what was shown to work
	Open     []string // what was not looked at, and who can
}

// Config checks a configuration in which configcheck found no fault.
func Config(ctx context.Context, conf *confmap.Conf) (*Report, error) {
	r := &Report{}
	for _, check := range []func(context.Context, *confmap.Conf) error{r.agents, r.recoveries, r.gateways} {
		if err := check(ctx, conf); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Report) agents(ctx context.Context, conf *confmap.Conf) error {
	f := lifelineexporter.NewFactory()
	return collectorconf.Each(conf, "exporters", f.Type(), func(id component.ID, sub *confmap.Conf) error {
		cfg := f.CreateDefaultConfig().(*lifelineexporter.Config)
		if err := sub.Unmarshal(cfg); err != nil {
			return err
		}
		at := "exporters::" + id.String()
		places := []place{r.server(ctx, at, target{cfg.HTTP.Get(), cfg.GRPC.Get()})}
		if cfg.Flare.HasValue() {
			for i, b := range cfg.Flare.Get().Buckets {
				at := fmt.Sprintf("%s::flare::buckets::%d", at, i)
				r.writer(ctx, at, b)
				places = append(places, placeOf(ctx, at, b.Host()))
			}
			r.open(at, "whether a flare can be put and opened: `lifeline drill` shows it")
		}
		r.shared(places)
		r.open(at, "whether the gateway's domain, certificates and cloud account can fail together with the bucket's: two names here say little about who is paid for them")
		return nil
	})
}

// writer checks an agent's key: it must be known, and must not read.
func (r *Report) writer(ctx context.Context, at string, cfg s3bucket.Config) {
	r.withBucket(ctx, at, cfg, func(ctx context.Context, client *s3bucket.Client) bool {
		switch err := client.Probe(ctx); {
		case errors.Is(err, s3bucket.ErrCanRead):
			r.fault(at, "%v", err)
		case err != nil:
			r.fault(at, "%v; %s", err, remedy(err, "check name, region, endpoint, credentials and the network"))
			return false
		default:
			r.proven(at, "the bucket answers, knows the key and does not let it list")
		}
		return true
	})
}

// withBucket lets ask check one bucket; ask reports whether the store answered.
// What its answers tell beside themselves comes behind: clock and certificate.
func (r *Report) withBucket(ctx context.Context, at string, cfg s3bucket.Config, ask func(context.Context, *s3bucket.Client) bool) {
	client, err := s3bucket.New(cfg)
	if err != nil {
		r.fault(at, "%v", err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*callTimeout)
	defer cancel()
	if !ask(ctx, client) {
		return
	}
	if off := client.ClockOffset(); off.Abs() > maxSkew {
		r.warn(at, "this host's clock is %s off the store's: set it, with NTP for example", off.Abs().Round(time.Second))
	} else {
		r.proven(at, "this host's clock agrees with the store's")
	}
	r.certificate(at, cfg.Host(), client.NotAfter())
}

func (r *Report) recoveries(ctx context.Context, conf *confmap.Conf) error {
	f := flarerecoveryextension.NewFactory()
	return collectorconf.Each(conf, "extensions", f.Type(), func(id component.ID, sub *confmap.Conf) error {
		cfg := f.CreateDefaultConfig().(*flarerecoveryextension.Config)
		if err := sub.Unmarshal(cfg); err != nil {
			return err
		}
		at := "extensions::" + id.String()
		r.server(ctx, at+"::forward", target{cfg.Forward.HTTP.Get(), cfg.Forward.GRPC.Get()})
		r.withBucket(ctx, at+"::s3", cfg.S3, func(ctx context.Context, client *s3bucket.Client) bool {
			if !r.rights(ctx, at+"::s3", client, cfg) {
				return false
			}
			r.lifecycle(ctx, at+"::s3", client, keeping(cfg))
			return true
		})
		return nil
	})
}

// rights checks recovery's key: everything it will need, and that it cannot
// delete what is in quarantine. It reports whether the store answered.
func (r *Report) rights(ctx context.Context, at string, client *s3bucket.Client, cfg *flarerecoveryextension.Config) bool {
	if err := recovery.Prove(ctx, client, cfg.S3.Prefix, cfg.StatePrefix); err != nil {
		text := err.Error()
		if more := remedy(err, ""); more != "" {
			text += "; " + more
		}
		r.fault(at, "%s", text)
		return false
	}
	r.proven(at, "the key can list, take flares and keep recovery's notes")
	_, err := client.Delete(ctx, cfg.StatePrefix+"quarantine/probe-"+frame.RandomHex())
	if bucket.KindOf(err) == bucket.Denied {
		r.proven(at, "the key cannot delete in quarantine")
	} else if err == nil {
		r.warn(at, "the key may delete in %squarantine/: take that right away, see deploy/policies", cfg.StatePrefix)
	}
	return true
}

// gateways asks the brokers about the topics, as ack_guard will.
func (r *Report) gateways(ctx context.Context, conf *confmap.Conf) error {
	gateway, err := ackrules.FromFile(conf)
	if err != nil || !gateway.Guarded() {
		return err
	}
	_, targets := gateway.Check(nil)
	for _, t := range targets {
		at := "exporters::" + t.Exporter.String()
		lines, err := ackguardextension.AskTopics(ctx, &t)
		if err != nil {
			r.fault(at, "the brokers could not be asked about their topics: %v; check brokers, tls and auth", err)
			continue
		}
		for _, line := range lines {
			r.warn(at, "%s", line)
		}
		if len(lines) == 0 {
			r.proven(at, "the brokers answer, and the topics keep what an ack says")
		}
	}
	if len(targets) == 0 {
		return nil // an agent's, for its own host
	}
	r.open("receivers", "whether agents reach the listeners: `lifeline check --live` with an agent's configuration, on its host")
	return nil
}

func (r *Report) fault(at, text string, args ...any)  { r.Faults = add(r.Faults, at, text, args) }
func (r *Report) warn(at, text string, args ...any)   { r.Warnings = add(r.Warnings, at, text, args) }
func (r *Report) proven(at, text string, args ...any) { r.Proven = add(r.Proven, at, text, args) }
func (r *Report) open(at, text string, args ...any)   { r.Open = add(r.Open, at, text, args) }

func add(lines []string, at, text string, args []any) []string {
	return append(lines, at+": "+fmt.Sprintf(text, args...))
}
