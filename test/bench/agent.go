package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/proc"
)

// Agents that are compared. Those without a receiver of their own have the stock
// one; base is the agent with the same receiver that throws everything away.
//
// There is no way to have the lifeline receiver lend its bytes to nobody. Its base
// makes records for Kafka of them instead, which takes a copy and a SHA-256 that
// the agent does without: what is said of the exporter's part there is too little
// by that much.
var agents = []struct{ name, base, receiver, exporter string }{
	{"nop", "nop", "", "nop:"},
	{"otlp-gzip", "nop", "", `otlp_grpc: {endpoint: "${env:OUT}", tls: {insecure: true}}`},
	{"otlp-zstd", "nop", "", `otlp_grpc: {endpoint: "${env:OUT}", compression: zstd, tls: {insecure: true}}`},
	{"otlphttp-gzip", "nop", "", `otlp_http: {endpoint: "http://${env:OUT}"}`},
	{"otlphttp-zstd", "nop", "", `otlp_http: {endpoint: "http://${env:OUT}", compression: zstd}`},
	{"lifeline", "nop", "", lifelineExporter},
	{"nop-raw", "nop-raw", "passthrough: {to: kafka}", "nop:"},
	{"lifeline-raw", "nop-raw", "passthrough: {to: lifeline}", lifelineExporter},
}

const lifelineExporter = `lifeline: {http: {endpoint: "http://${env:OUT}"}, agent: acme/host-17, ring: {capacity: 64MiB}}`

// Cost of a span in the whole process, and of it what the exporter adds to a
// process that throws everything away.
const (
	unitCPU   = "cpu-ns/span"
	unitAlloc = "alloc-B/span"
	unitWire  = "wire-B/span"
)

// Cost compares the CPU time per span of agents that take spans over gRPC, as
// SDKs send them by default, and export them to a server that acks at once.
type Cost struct {
	Otelcol string    // the otelcol-lifeline binary
	Out     io.Writer // a line per run
	Rounds  int
	Rate    int           // spans per second, so that every agent does the same
	For     time.Duration // one run
}

// Run measures all agents with requests of the given sizes and returns the
// medians and ratios worth reading.
func (c Cost) Run(ctx context.Context, sizes ...int) ([]string, error) {
	dir, err := os.MkdirTemp("", "lifeline-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	var summary []string
	var contestants []*contestant
	defer func() {
		for _, s := range contestants {
			s.close()
		}
	}()
	for _, a := range agents {
		s, err := c.start(ctx, Options{Name: a.name, Dir: dir, Receiver: a.receiver, Exporter: a.exporter})
		if err != nil {
			return nil, err
		}
		contestants = append(contestants, s)
	}
	for _, size := range sizes {
		lines, err := c.compare(ctx, contestants, size)
		if err != nil {
			return nil, err
		}
		summary = append(summary, lines...)
	}
	return summary, nil
}

func (c Cost) compare(ctx context.Context, contestants []*contestant, size int) ([]string, error) {
	pool, err := Load{Signal: frame.Traces, Items: size}.Pool(1)
	if err != nil {
		return nil, err
	}
	ratio, itemBytes, err := Ratio(frame.Traces, pool)
	if err != nil {
		return nil, err
	}
	messages, err := Wire{GRPC: true}.Prepare(frame.Traces, pool)
	if err != nil {
		return nil, err
	}
	name := func(agent string) string { return fmt.Sprintf("Agent/request=%d/exporter=%s", size, agent) }
	plan := Plan{Workers: 4, Every: time.Second * time.Duration(size) / time.Duration(c.Rate)}
	plan.Requests = int(c.For / plan.Every)
	var subjects []Subject
	for _, s := range contestants {
		subjects = append(subjects, Subject{name(s.name), func(ctx context.Context) (Sample, error) {
			return s.run(ctx, messages, plan, size)
		}})
	}
	var t Table
	fmt.Fprintf(c.Out, "# %d spans a request, %.0f bytes a span, zstd-fastest ratio %.2f at 256 KiB, %d spans/s\n", size, itemBytes, ratio, c.Rate)
	if err := t.Compare(ctx, c.Out, c.Rounds, subjects); err != nil {
		return nil, err
	}
	return summarizeCost(&t, name, size, ratio), nil
}

// summarizeCost puts the agent as it is shipped, and the one behind the stock
// receiver, beside stock.
func summarizeCost(t *Table, name func(string) string, size int, ratio float64) []string {
	whole := func(agent string) float64 { return t.Median(name(agent), unitCPU) }
	out := []string{fmt.Sprintf("agent, %d spans a request, zstd-fastest ratio %.2f: CPU of the process, of it the exporter's part", size, ratio)}
	part := map[string]float64{}
	for _, a := range agents {
		part[a.name] = whole(a.name) - whole(a.base)
		out = append(out, fmt.Sprintf("  %-14s %6.2f us/span  %6.2f us/span  %6.0f B allocated/span  %5.1f B sent/span   lifeline-raw is x %.2f",
			a.name, whole(a.name)/1e3, part[a.name]/1e3, t.Median(name(a.name), unitAlloc), t.Median(name(a.name), unitWire),
			whole("lifeline-raw")/whole(a.name)))
	}
	for _, ours := range []struct{ name, what string }{{"lifeline-raw", "as shipped"}, {"lifeline", "behind the otlp receiver"}} {
		out = append(out,
			target(ours.what+": process, of stock gzip", whole(ours.name)/whole("otlp-gzip"), 0.5),
			target(ours.what+": exporter's part, of stock zstd", part[ours.name]/part["otlp-zstd"], 0.5))
	}
	return out
}

// target compares a ratio that should be small with the one to reach.
func target(what string, got, atMost float64) string {
	return verdict(what, got, fmt.Sprintf("at most %.2f", atMost), got > atMost)
}

// atLeast says whether a figure is as high as it should be.
func atLeast(what string, got, least float64) string {
	return verdict(what, got, fmt.Sprintf("at least %.2f", least), got < least)
}

func verdict(what string, got float64, aim string, missed bool) string {
	word := "reached"
	if missed {
		word = "MISSED"
	}
	return fmt.Sprintf("  target: %-56s %.2f, %s: %s", what, got, aim, word)
}

// contestant is a running agent with the server it exports to.
type contestant struct {
	name   string
	sink   *Sink
	agent  *Collector
	sender *Sender
}

func (c Cost) start(ctx context.Context, o Options) (*contestant, error) {
	sink, err := StartSink(ctx, "")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(o.Dir, o.Name+".log"))
	if err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	o.Otelcol, o.Out, o.Log = c.Otelcol, sink.Addr(), log
	agent, err := StartCollector(ctx, o)
	if err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	return &contestant{name: o.Name, sink: sink, agent: agent, sender: NewSender(agent.GRPC, Wire{GRPC: true})}, nil
}

func (s *contestant) close() {
	s.sender.Close()
	s.agent.Kill()
	_ = s.sink.Close()
}

// run sends what the plan says and measures until the last span has come out at
// the other end.
func (s *contestant) run(ctx context.Context, messages []Message, plan Plan, size int) (Sample, error) {
	before, err := s.agent.Scrape(ctx)
	if err != nil {
		return nil, err
	}
	requests, framed, wire := s.sink.Requests(), s.sink.Framed(), s.sink.Bytes()
	begin, err := s.agent.CPU()
	if err != nil {
		return nil, err
	}
	d, err := s.sender.Drive(ctx, messages, plan)
	if err != nil || d.Refused > 0 {
		return nil, errors.Join(err, fmt.Errorf("%d of %d requests were refused", d.Refused, plan.Requests))
	}
	spans := int64(plan.Requests) * int64(size)
	err = proc.Until(ctx, 10*time.Millisecond, func(context.Context) (bool, error) {
		got := s.sink.Framed() - framed
		if got == 0 {
			got = (s.sink.Requests() - requests) * int64(size)
		}
		return got >= spans || strings.HasPrefix(s.name, "nop"), nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the last span: %w", err)
	}
	end, err := s.agent.CPU()
	if err != nil {
		return nil, err
	}
	after, err := s.agent.Scrape(ctx)
	if err != nil {
		return nil, err
	}
	const allocated = "otelcol_process_runtime_total_alloc_bytes"
	n := float64(spans)
	return Sample{
		unitCPU:   float64(end-begin) / n,
		unitAlloc: (after.Sum(allocated) - before.Sum(allocated)) / n,
		unitWire:  float64(s.sink.Bytes()-wire) / n,
	}, nil
}
