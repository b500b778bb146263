// Package configcheck says what is wrong with a Collector's configuration before
// a start does: whether the acks of a gateway would be true, and whether the files
// of an agent and of recovery are there and good. `otelcol-lifeline validate`, which
// knows every component, opens no such file and cannot judge acks.
//
// It uses no network, and has no goroutines.
package configcheck

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter"
	"github.com/otel-lifeline/lifeline/extension/ackguardextension"
	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/extension/statusextension"
	"github.com/otel-lifeline/lifeline/internal/ackrules"
	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver"
)

// Report is what was found.
type Report struct {
	Faults  []string // one line each: place, fault, remedy
	Checked []string // places of Lifeline's components, such as exporters::lifeline
}

// Config checks a configuration that collectorconf.Load returned. An error means
// that it could not be read as one.
func Config(ctx context.Context, conf *confmap.Conf) (*Report, error) {
	r := &Report{}
	for _, check := range []func(context.Context, *confmap.Conf) error{r.exporters, r.recoveries, r.pages, r.receivers, r.acks} {
		if err := check(ctx, conf); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Collector checks the program that is to run the configuration.
func Collector(path string) ([]string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read how the collector was built: %w", err)
	}
	return ackrules.BuildFaults(info), nil
}

func (r *Report) exporters(ctx context.Context, conf *confmap.Conf) error {
	f := lifelineexporter.NewFactory()
	return r.each(conf, "exporters", f, func(cfg component.Config) error {
		return cfg.(*lifelineexporter.Config).CheckFiles(ctx)
	})
}

func (r *Report) recoveries(ctx context.Context, conf *confmap.Conf) error {
	f := flarerecoveryextension.NewFactory()
	return r.each(conf, "extensions", f, func(cfg component.Config) error {
		return cfg.(*flarerecoveryextension.Config).CheckFiles(ctx)
	})
}

func (r *Report) pages(ctx context.Context, conf *confmap.Conf) error {
	f := statusextension.NewFactory()
	return r.each(conf, "extensions", f, func(cfg component.Config) error {
		return cfg.(*statusextension.Config).CheckFiles(ctx)
	})
}

func (r *Report) receivers(ctx context.Context, conf *confmap.Conf) error {
	f := lifelinereceiver.NewFactory()
	return r.each(conf, "receivers", f, func(cfg component.Config) error {
		return cfg.(*lifelinereceiver.Config).CheckFiles(ctx)
	})
}

// acks applies the rules of ack_guard, which need not be in the configuration.
func (r *Report) acks(ctx context.Context, conf *confmap.Conf) error {
	var service struct {
		Service struct {
			Extensions []component.ID `mapstructure:"extensions"`
		} `mapstructure:"service"`
	}
	if err := conf.Unmarshal(&service, confmap.WithIgnoreUnused()); err != nil {
		return err
	}
	f := ackguardextension.NewFactory()
	on := false
	var allow []string
	err := collectorconf.Each(conf, "extensions", f.Type(), func(id component.ID, sub *confmap.Conf) error {
		cfg := f.CreateDefaultConfig().(*ackguardextension.Config)
		if !slices.Contains(service.Service.Extensions, id) {
			return nil
		}
		on = true
		if err := sub.Unmarshal(cfg); err != nil {
			return err
		}
		allow = append(allow, cfg.Allow...)
		r.add("extensions::"+id.String(), confmap.Validate(cfg))
		return nil
	})
	if err != nil {
		return err
	}
	gateway, err := ackrules.FromFile(conf)
	if err != nil {
		return err
	}
	if !on && !gateway.Guarded() {
		return nil
	}
	faults, targets := gateway.Check(allow)
	r.Faults = append(r.Faults, faults...)
	for _, t := range targets {
		if t.Client.TLS == nil {
			continue
		}
		if _, err := t.Client.TLS.LoadTLSConfig(ctx); err != nil {
			r.add("exporters::"+t.Exporter.String(), fmt.Errorf("tls: %w", err))
		}
	}
	return nil
}

// each checks every component of a type: its keys, and if they are good its files.
func (r *Report) each(conf *confmap.Conf, section string, f component.Factory, files func(component.Config) error) error {
	return collectorconf.Each(conf, section, f.Type(), func(id component.ID, sub *confmap.Conf) error {
		at := section + "::" + id.String()
		r.Checked = append(r.Checked, at)
		cfg := f.CreateDefaultConfig()
		err := sub.Unmarshal(cfg)
		if err == nil {
			err = confmap.Validate(cfg)
		}
		if err == nil {
			err = files(cfg)
		}
		r.add(at, err)
		return nil
	})
}

// add adds every line of an error as a fault.
func (r *Report) add(at string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		r.Faults = append(r.Faults, at+"::"+strings.TrimSpace(line))
	}
}
