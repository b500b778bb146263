// Command bench measures what the built programs cost, side by side with stock
// components, and prints how that compares with what we set out to reach.
// `make bench` builds and runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/otel-lifeline/lifeline/test/bench"
)

func main() {
	c := bench.Cost{Out: os.Stdout}
	o := bench.Outage{Out: os.Stdout}
	flag.StringVar(&o.Otelcol, "otelcol", "bin/otelcol-lifeline", "the otelcol-lifeline binary")
	flag.StringVar(&o.Lifeline, "lifeline", "bin/lifeline", "the lifeline command")
	flag.StringVar(&o.Configs, "configs", "testdata/configs", "the directory of the shipped configs")
	flag.IntVar(&c.Rounds, "rounds", 4, "how often each agent and gateway is measured")
	flag.IntVar(&c.Rate, "rate", 40_000, "spans per second")
	flag.DurationVar(&c.For, "for", 2*time.Second, "one measurement")
	parts := flag.String("parts", "agent,gateway,outage", "what is measured, separated by commas")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, strings.Split(*parts, ","), c, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures and prints the summary last, whatever happened.
func run(ctx context.Context, parts []string, c bench.Cost, o bench.Outage) error {
	for _, path := range []*string{&o.Otelcol, &o.Lifeline, &o.Configs} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	c.Otelcol = o.Otelcol
	var summary []string
	defer func() {
		fmt.Println("\n" + strings.Join(summary, "\n"))
	}()
	if slices.Contains(parts, "agent") {
		lines, err := c.Run(ctx, 100, 1000)
		if summary = append(summary, lines...); err != nil {
			return err
		}
	}
	if slices.Contains(parts, "gateway") {
		lines, err := bench.Gateways(c).Run(ctx, 100, 1000)
		if summary = append(summary, lines...); err != nil {
			return err
		}
	}
	if slices.Contains(parts, "outage") {
		lines, err := o.Run(ctx)
		if summary = append(summary, lines...); err != nil {
			return err
		}
	}
	return nil
}
