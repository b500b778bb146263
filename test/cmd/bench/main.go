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
	parts := flag.String("parts", "agent,gateway,outage,recovery", "what is measured, separated by commas")
	flares := flag.Int("flares", 40, "how many recovery drains, each of about 50 MB of telemetry")
	flag.Parse()
	for _, path := range []*string{&o.Otelcol, &o.Lifeline, &o.Configs} {
		abs, err := filepath.Abs(*path)
		if err != nil {
			fail(err)
		}
		*path = abs
	}
	c.Otelcol = o.Otelcol
	r := bench.Recovery{Otelcol: o.Otelcol, Lifeline: o.Lifeline, Configs: o.Configs, Out: os.Stdout, Rounds: c.Rounds, Flares: *flares}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(strings.Split(*parts, ","), []part{
		{"agent", func() ([]string, error) { return c.Run(ctx, 100, 1000) }},
		{"gateway", func() ([]string, error) { return bench.Gateways(c).Run(ctx, 100, 1000) }},
		{"outage", func() ([]string, error) { return o.Run(ctx) }},
		{"recovery", func() ([]string, error) { return r.Run(ctx) }},
	})
	stop()
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// part is one thing that is measured. It returns what is worth reading, also with
// an error.
type part struct {
	name string
	run  func() ([]string, error)
}

// run measures the wanted parts and prints the summary last, whatever happened.
func run(wanted []string, parts []part) error {
	var summary []string
	defer func() {
		fmt.Println("\n" + strings.Join(summary, "\n"))
	}()
	for _, p := range parts {
		if !slices.Contains(wanted, p.name) {
			continue
		}
		lines, err := p.run()
		if summary = append(summary, lines...); err != nil {
			return err
		}
	}
	return nil
}
