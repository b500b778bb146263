package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/internal/configcheck"
	"github.com/otel-lifeline/lifeline/internal/livecheck"
)

type checkFlags struct {
	collector  string
	live, json bool
}

// checked is what a check found: the JSON of --json.
type checked struct {
	Components []string `json:"components"`            // of Lifeline, in the configuration
	Faults     []string `json:"faults"`                // what fails the check
	Warnings   []string `json:"warnings,omitempty"`    // with --live
	Proven     []string `json:"proven,omitempty"`      // with --live
	NotChecked []string `json:"not_checked,omitempty"` // with --live, and who can
}

func newCheck() *cobra.Command {
	var flags checkFlags
	c := &cobra.Command{
		Use: "check [flags] CONFIG...", Short: "Check a collector's configuration before a start or a reload",
		Long: `Checks the configuration of an agent, a gateway or recovery, without any network:
what ack_guard would say, and whether key, credential and certificate files are
there and good. Several CONFIGs are merged, as the collector's --config flags are,
and ${env:NAME} is resolved with the environment of this command.

It knows Lifeline's own components and the kafka exporter behind them;
` + "`otelcol-lifeline validate --config CONFIG`" + ` checks the keys of all components, and opens
no file. Do both before a reload: a collector that refuses its new configuration
stops.

With --live it then asks the network, best on the host that the configuration is for:
whether gateways take connections; when the certificates of gateways and buckets
end; whether an agent's key is known and may not list; whether recovery's key has
every right it needs and cannot delete in quarantine; whether a lifecycle rule
takes flares too soon; whether clocks agree; what the brokers say about the topics;
what gateway and bucket have in common. It sends no telemetry, and says what it did
not check.

Prints one line for every fault. Exit codes: 0 there is none; 1 there are some, or
the configuration cannot be read; 2 the command line is wrong. Warnings do not count.`,
		DisableFlagsInUseLine: true,
		Args:                  usageArgs(cobra.MinimumNArgs(1)),
		RunE:                  flags.run,
	}
	c.Flags().StringVar(&flags.collector, "collector", "", "also check how this program was built, the one that is to run CONFIG")
	c.Flags().BoolVar(&flags.live, "live", false, "also ask buckets, gateways and brokers")
	c.Flags().BoolVar(&flags.json, "json", false, "print one JSON object")
	return c
}

func (f *checkFlags) run(c *cobra.Command, sources []string) error {
	found, err := f.check(c.Context(), sources)
	if err != nil {
		return err
	}
	if f.json {
		err = printJSON(c.OutOrStdout(), found)
	} else {
		err = found.print(c)
	}
	if err == nil && len(found.Faults) > 0 {
		err = fmt.Errorf("%d faults in %s", len(found.Faults), strings.Join(sources, ", "))
	}
	return err
}

func (f *checkFlags) check(ctx context.Context, sources []string) (*checked, error) {
	conf, err := collectorconf.Load(ctx, sources)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	report, err := configcheck.Config(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	found := &checked{Components: report.Checked, Faults: append([]string{}, report.Faults...)}
	if f.collector != "" {
		more, err := configcheck.Collector(f.collector)
		if err != nil {
			return nil, fmt.Errorf("--collector: %w", err)
		}
		found.Faults = append(more, found.Faults...)
	}
	if !f.live {
		return found, nil
	}
	if len(found.Faults) > 0 {
		found.NotChecked = []string{"--live: nothing, until these faults are gone"}
		return found, nil
	}
	live, err := livecheck.Config(ctx, conf)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	found.Faults = append(found.Faults, live.Faults...)
	found.Warnings, found.Proven, found.NotChecked = live.Warnings, live.Proven, live.Open
	return found, nil
}

func (r *checked) print(c *cobra.Command) error {
	var err error
	line := func(what, text string) { err = errors.Join(err, printLine(c.OutOrStdout(), what+text)) }
	for _, text := range r.Faults {
		line("", text)
	}
	for _, text := range r.Warnings {
		line("warning: ", text)
	}
	for _, text := range r.Proven {
		line("proven: ", text)
	}
	for _, text := range r.NotChecked {
		line("not checked: ", text)
	}
	switch {
	case len(r.Faults) > 0:
	case len(r.Components) == 0:
		line("", "nothing of Lifeline is configured")
	default:
		line("good: ", strings.Join(r.Components, ", "))
	}
	return err
}
