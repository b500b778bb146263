// Command demo shows the main job of Lifeline live and exits 1 unless every
// record that the agent accepted stands in Kafka, unaltered. `make demo` builds
// and runs it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/otel-lifeline/lifeline/test/demo"
)

func main() {
	o := demo.Options{Out: os.Stdout, Times: demo.Usual()}
	flag.StringVar(&o.Otelcol, "otelcol", "bin/otelcol-lifeline", "the otelcol-lifeline binary")
	flag.StringVar(&o.Lifeline, "lifeline", "bin/lifeline", "the lifeline command")
	flag.StringVar(&o.Configs, "configs", "testdata/configs", "the directory of the shipped configs")
	flag.BoolVar(&o.Keep, "keep", os.Getenv("KEEP") != "", "leave everything running after the ledger, until Ctrl-C")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo.Run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
