package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/test/proc"
)

// Collector is a collector that runs as a process of its own.
type Collector struct {
	*proc.Process

	GRPC, HTTP string // its OTLP listeners, host:port

	name    string
	metrics string
}

// Options say which collector is started.
type Options struct {
	Name     string   // one word, in file names and errors
	Otelcol  string   // the otelcol-lifeline binary
	Dir      string   // for the config file
	Exporter string   // YAML: an entry of `exporters:`; ${env:OUT} is the next hop's host:port
	Receiver string   // YAML: keys of a lifeline receiver in a logs pipeline, instead of an otlp receiver
	Config   string   // YAML: all of the config but extensions and telemetry, instead of Exporter
	Out      string   // host:port
	Signals  []string // the pipelines; traces if empty
	Env      []string
	Log      io.Writer // its output; may be nil
}

// startTime is the longest a collector may take to be ready.
const startTime = 30 * time.Second

// config is a receiver and one exporter, and nothing else that costs.
const config = `receivers:
  %s: {protocols: {grpc: {endpoint: "${env:IN_GRPC}"}, http: {endpoint: "${env:IN_HTTP}"}}%s}
exporters:
  %s
service:
  pipelines:
%s`

// observed is added to every config: health, metrics, and nothing else that costs.
const observed = `yaml:
extensions:
  health_check: {endpoint: "${env:HEALTH}"}
service:
  extensions: [health_check]
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: "${env:METRICS_PORT}"}}}}]}
`

// StartCollector starts a collector and returns when its pipelines run. The
// caller ends it with Kill or Stop.
func StartCollector(ctx context.Context, o Options) (*Collector, error) {
	addrs, err := proc.FreeAddrs(4)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addrs[3])
	if err != nil {
		return nil, err
	}
	if len(o.Signals) == 0 {
		o.Signals = []string{"traces"}
	}
	id, _, _ := strings.Cut(o.Exporter, ":")
	receiver, keys := "otlp", ""
	if o.Receiver != "" {
		receiver, keys, o.Signals = "lifeline", ", "+o.Receiver, []string{"logs"}
	}
	var pipelines strings.Builder
	for _, s := range o.Signals {
		fmt.Fprintf(&pipelines, "    %s: {receivers: [%s], exporters: [%s]}\n", s, receiver, id)
	}
	if o.Config == "" {
		o.Config = fmt.Sprintf(config, receiver, keys, o.Exporter, pipelines.String())
	}
	file := filepath.Join(o.Dir, o.Name+".yaml")
	if err := os.WriteFile(file, []byte(o.Config), 0o600); err != nil {
		return nil, fmt.Errorf("write the config of %s: %w", o.Name, err)
	}
	c := &Collector{GRPC: addrs[0], HTTP: addrs[1], metrics: addrs[3], name: o.Name}
	c.Process, err = proc.Start(proc.Command{
		Name: o.Name, Path: o.Otelcol, Args: []string{"--config", file, "--config", observed}, Log: o.Log,
		Env: append([]string{"IN_GRPC=" + addrs[0], "IN_HTTP=" + addrs[1], "HEALTH=" + addrs[2], "METRICS_PORT=" + port, "OUT=" + o.Out}, o.Env...),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := c.Healthy(ctx, "http://"+addrs[2]); err != nil {
		c.Kill()
		return nil, err
	}
	return c, nil
}

// Scrape reads the collector's own metrics.
func (c *Collector) Scrape(ctx context.Context) (proc.Samples, error) {
	return proc.Scrape(ctx, "http://"+c.metrics+"/metrics")
}

// WaitFor waits until the metric has at least the value, looking often enough
// for a measurement and seldom enough not to disturb one.
func (c *Collector) WaitFor(ctx context.Context, metric string, value float64) error {
	err := proc.Until(ctx, 100*time.Millisecond, func(ctx context.Context) (bool, error) {
		samples, err := c.Scrape(ctx)
		return err == nil && samples.Sum(metric) >= value, err
	})
	if err != nil {
		return fmt.Errorf("%s: wait for %s to be %.0f: %w", c.name, metric, value, err)
	}
	return nil
}
