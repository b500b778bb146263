package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// gatewayConfig is a receiver in front of the Kafka exporter, set so that an ack
// means the same for everyone who is compared.
const gatewayConfig = `receivers:
  %s
exporters:
  kafka:
    brokers: ["${env:OUT}"]
    timeout: 30s
    sending_queue: {enabled: false}
    retry_on_failure: {enabled: false}
    producer: {required_acks: -1, allow_auto_topic_creation: false, max_message_bytes: 1000000, flush_max_messages: 512, compression: lz4}
    %s
service:
  pipelines:
    %s
`

const (
	stockReceiver    = `otlp: {protocols: {grpc: {endpoint: "${env:IN_GRPC}"}, http: {endpoint: "${env:IN_HTTP}"}}}`
	lifelineReceiver = `lifeline: {protocols: {grpc: {endpoint: "${env:IN_GRPC}"}, http: {endpoint: "${env:IN_HTTP}"}}, passthrough: {enabled: %t}}`
	shippedLogs      = `include_metadata_keys: [lifeline-batch-id, lifeline-frame, lifeline-part, lifeline-flare-id, lifeline-agent]
    logs: {encoding: raw, message_key_from_metadata_key: lifeline-batch-root}`
)

// gateways are compared. The first is what the rest is measured against.
var gateways = []struct{ name, config string }{
	{"stock", fmt.Sprintf(gatewayConfig, stockReceiver, "traces: {topic: otlp_spans}", "traces: {receivers: [otlp], exporters: [kafka]}")},
	{"lifeline", fmt.Sprintf(gatewayConfig, fmt.Sprintf(lifelineReceiver, true), shippedLogs, "logs: {receivers: [lifeline], exporters: [kafka]}")},
	{"lifeline-decode", fmt.Sprintf(gatewayConfig, fmt.Sprintf(lifelineReceiver, false), "traces: {topic: otlp_spans}", "traces: {receivers: [lifeline], exporters: [kafka]}")},
}

// gatewayWires are the ways in that are compared.
var gatewayWires = []Wire{{GRPC: true}, {GRPC: true, Compression: "gzip"}, {Compression: "zstd"}}

// The units of a gateway besides its CPU time.
const (
	unitP50  = "p50-ms"
	unitP99  = "p99-ms"
	unitRate = "spans/s"
)

// Gateways compares the CPU time per span of gateways that write to Kafka and
// ack what Kafka acked, and the time to the ack. Kafka is kfake, which runs in
// this process and throws the records away.
type Gateways struct {
	Otelcol string    // the otelcol-lifeline binary
	Out     io.Writer // a line per run
	Rounds  int
	Rate    int           // spans per second, so that every gateway does the same
	For     time.Duration // one run
}

// Run measures all gateways with requests of the given sizes over every wire and
// returns the medians and ratios worth reading.
func (g Gateways) Run(ctx context.Context, sizes ...int) (summary []string, err error) {
	dir, err := os.MkdirTemp("", "lifeline-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BlackholeProduce(), kfake.SeedTopics(3, "otlp_spans"))
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	defer broker.Close()
	var running []*Collector
	defer func() {
		for _, c := range running {
			c.Kill()
		}
	}()
	for _, gw := range gateways {
		log, err := os.Create(filepath.Join(dir, gw.name+".log")) //nolint:gosec // our own directory
		if err != nil {
			return nil, err
		}
		c, err := StartCollector(ctx, Options{Name: gw.name, Otelcol: g.Otelcol, Dir: dir, Config: gw.config, Out: broker.ListenAddrs()[0], Log: log})
		if err != nil {
			return nil, err
		}
		running = append(running, c)
	}
	for _, wire := range gatewayWires {
		for _, size := range sizes {
			lines, err := g.compare(ctx, running, wire, size)
			if err != nil {
				return summary, err
			}
			summary = append(summary, lines...)
		}
	}
	return summary, nil
}

func (g Gateways) compare(ctx context.Context, running []*Collector, wire Wire, size int) ([]string, error) {
	pool, err := Load{Signal: frame.Traces, Items: size}.Pool(1)
	if err != nil {
		return nil, err
	}
	ratio, itemBytes, err := Ratio(frame.Traces, pool)
	if err != nil {
		return nil, err
	}
	messages, err := wire.Prepare(frame.Traces, pool)
	if err != nil {
		return nil, err
	}
	name := func(gateway, kind string) string {
		return fmt.Sprintf("Gateway/wire=%s/request=%d/%s/gateway=%s", wire, size, kind, gateway)
	}
	plan := Plan{Workers: 16, Every: time.Second * time.Duration(size) / time.Duration(g.Rate)}
	plan.Requests = int(g.For / plan.Every)
	flood := Plan{Workers: 16, Requests: plan.Requests}
	var subjects []Subject
	for _, c := range running {
		addr := c.HTTP
		if wire.GRPC {
			addr = c.GRPC
		}
		sender := NewSender(addr, wire)
		defer sender.Close()
		for _, p := range []struct {
			kind string
			Plan
		}{{"rate", plan}, {"max", flood}} {
			run := gatewayRun{c, sender, messages, p.Plan, size}
			subjects = append(subjects, Subject{name(c.name, p.kind), run.measure})
		}
	}
	var t Table
	fmt.Fprintf(g.Out, "# %s, %d spans a request, %.0f bytes a span, zstd-fastest ratio %.2f at 256 KiB, %d spans/s\n", wire, size, itemBytes, ratio, g.Rate)
	if err := t.Compare(ctx, g.Out, g.Rounds, subjects); err != nil {
		return nil, err
	}
	out := []string{fmt.Sprintf("gateway, %s, %d spans a request, %.0f bytes a span, zstd-fastest ratio %.2f", wire, size, itemBytes, ratio)}
	for _, gw := range gateways {
		out = append(out, fmt.Sprintf("  %-16s %6.2f us/span  p50 %6.2f ms  p99 %6.2f ms   at most %7.0f spans/s at %5.2f us  stock's: x %.2f, x %.2f",
			gw.name, t.Median(name(gw.name, "rate"), unitCPU)/1e3, t.Median(name(gw.name, "rate"), unitP50), t.Median(name(gw.name, "rate"), unitP99),
			t.Median(name(gw.name, "max"), unitRate), t.Median(name(gw.name, "max"), unitCPU)/1e3,
			t.Ratio(name(gw.name, "rate"), name("stock", "rate"), unitCPU), t.Ratio(name(gw.name, "max"), name("stock", "max"), unitCPU)))
	}
	return append(out, target("CPU per span, of stock", t.Ratio(name("lifeline", "rate"), name("stock", "rate"), unitCPU), 1.0/3),
		target("p99 ack latency, of stock", t.Ratio(name("lifeline", "rate"), name("stock", "rate"), unitP99), 1)), nil
}

// gatewayRun is what is sent to a gateway, and how.
type gatewayRun struct {
	gateway  *Collector
	sender   *Sender
	messages []Message
	plan     Plan
	size     int // spans in each message
}

func (r gatewayRun) measure(ctx context.Context) (Sample, error) {
	begin, err := r.gateway.CPU()
	if err != nil {
		return nil, err
	}
	d, err := r.sender.Drive(ctx, r.messages, r.plan)
	if err != nil || d.Refused > 0 {
		return nil, errors.Join(err, fmt.Errorf("%d of %d requests were refused", d.Refused, r.plan.Requests))
	}
	end, err := r.gateway.CPU()
	if err != nil {
		return nil, err
	}
	spans := float64(r.plan.Requests * r.size)
	const perMs = float64(time.Millisecond)
	return Sample{
		unitCPU:  float64(end-begin) / spans,
		unitP50:  float64(d.Latency(0.5)) / perMs,
		unitP99:  float64(d.Latency(0.99)) / perMs,
		unitRate: spans / d.Elapsed.Seconds(),
	}, nil
}
