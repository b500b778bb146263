package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/internal/configcheck"
)

func newCheck() *cobra.Command {
	var collector string
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

Prints one line for every fault. Exit codes: 0 there is none; 1 there are some, or
the configuration cannot be read; 2 the command line is wrong.`,
		DisableFlagsInUseLine: true,
		Args:                  usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			return runCheck(c.Context(), c.OutOrStdout(), args, collector)
		},
	}
	c.Flags().StringVar(&collector, "collector", "", "also check how this program was built, the one that is to run CONFIG")
	return c
}

func runCheck(ctx context.Context, out io.Writer, sources []string, collector string) error {
	conf, err := collectorconf.Load(ctx, sources)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	report, err := configcheck.Config(ctx, conf)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	faults := report.Faults
	if collector != "" {
		more, err := configcheck.Collector(collector)
		if err != nil {
			return fmt.Errorf("--collector: %w", err)
		}
		faults = append(more, faults...)
	}
	for _, fault := range faults {
		if err := printLine(out, fault); err != nil {
			return err
		}
	}
	switch {
	case len(faults) > 0:
		return fmt.Errorf("%d faults in %s", len(faults), strings.Join(sources, ", "))
	case len(report.Checked) == 0:
		return printLine(out, "nothing of Lifeline is configured")
	}
	return printLine(out, "good: "+strings.Join(report.Checked, ", "))
}
