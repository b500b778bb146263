package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// Outage fills agents whose gateway is gone, and compares what they hold with
// what their resident memory grew by. Ours has the shipped config, with the
// bucket there: it seals and stores flares meanwhile.
type Outage struct {
	Otelcol, Lifeline string    // the binaries, absolute
	Configs           string    // the directory of the shipped configs, absolute
	Out               io.Writer // a line per run
}

const (
	mib      = 1 << 20
	capacity = 64 * mib
	// bound is what G2 promises of a ring of 64 MiB.
	bound = capacity + capacity/4 + 16*mib

	unitHeld   = "spans-held"
	unitGrowth = "RSS-growth-MiB"
	unitPerMiB = "spans-held/MiB"
)

// fill is how an agent is filled.
type fill struct {
	name string
	load Load
	plan Plan
}

// The fills. The quiet one stands for 10 requests of 5 spans a second, a hundred
// times as fast; frames of 256 KiB fill long before they are sealed for their
// age in both.
var (
	fullRate       = fill{"full-rate", Load{Signal: frame.Traces, Items: 100}, Plan{Requests: 10_000, Workers: 4}}
	incompressible = fill{"incompressible", Load{Signal: frame.Traces, Items: 100, Noise: 2000}, Plan{Requests: 2000, Workers: 4}}
	quiet          = fill{"quiet", Load{Signal: frame.Traces, Items: 5}, Plan{Requests: 25_000, Workers: 4, Every: time.Millisecond}}
)

const stockExporter = `otlp_grpc: {endpoint: "${env:OUT}", tls: {insecure: true}%s}`

// Run fills every agent once and returns what is worth reading.
func (o Outage) Run(ctx context.Context) ([]string, error) {
	var t Table
	var summary []string
	for _, f := range []fill{fullRate, incompressible, quiet} {
		sample, err := o.lifeline(ctx, f)
		if err != nil {
			return summary, fmt.Errorf("outage, %s: %w", f.name, err)
		}
		ratio := o.note(&t, "lifeline", f, sample)
		summary = append(summary, fmt.Sprintf("outage, lifeline, %s, zstd-fastest ratio %.2f: %.0f spans held, RSS grew by %.1f MiB, %.0f spans/MiB",
			f.name, ratio, sample[unitHeld], sample[unitGrowth], sample[unitPerMiB]),
			target("RSS growth / (1.25 x 64 MiB + 16 MiB)", sample[unitGrowth]*mib/bound, 1))
	}
	for _, s := range []struct {
		name, queue string
		fill        fill
		least       float64
	}{
		{"stock-default", "", fullRate, 18},
		{"stock-64MiB", ", sending_queue: {sizer: bytes, queue_size: 67108864}", fullRate, 18},
		{"stock-64MiB", ", sending_queue: {sizer: bytes, queue_size: 67108864}", quiet, 8},
	} {
		s.fill.plan.Requests = min(s.fill.plan.Requests, 3000*100/s.fill.load.Items)
		sample, err := o.stock(ctx, fmt.Sprintf(stockExporter, s.queue), s.fill)
		if err != nil {
			return summary, fmt.Errorf("outage, %s: %w", s.name, err)
		}
		o.note(&t, s.name, s.fill, sample)
		ours := t.Median(outageName("lifeline", s.fill), unitPerMiB)
		summary = append(summary, fmt.Sprintf("outage, %s, %s: %.0f spans held, RSS grew by %.1f MiB, %.0f spans/MiB",
			s.name, s.fill.name, sample[unitHeld], sample[unitGrowth], sample[unitPerMiB]),
			fmt.Sprintf("  target: spans held per MiB, lifeline's are x %.1f, at least %.0f", ours/sample[unitPerMiB], s.least))
	}
	return summary, nil
}

func outageName(agent string, f fill) string {
	return fmt.Sprintf("Outage/load=%s/exporter=%s", f.name, agent)
}

// note writes a run down and returns the ratio of its load.
func (o Outage) note(t *Table, agent string, f fill, s Sample) float64 {
	s[unitPerMiB] = s[unitHeld] / s[unitGrowth]
	t.add(outageName(agent, f), s)
	fmt.Fprintln(o.Out, line(outageName(agent, f), s))
	pool, err := f.load.Pool(1)
	if err != nil {
		return 0
	}
	ratio, _, err := Ratio(f.load.Signal, pool)
	if err != nil {
		return 0
	}
	return ratio
}

func (o Outage) lifeline(ctx context.Context, f fill) (Sample, error) {
	dir, err := os.MkdirTemp("", "lifeline-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := stack.New(ctx, stack.Options{Otelcol: o.Otelcol, Lifeline: o.Lifeline, Configs: o.Configs, Dir: dir})
	defer func() { _ = s.Close() }()
	if err != nil {
		return nil, err
	}
	sink, err := StartSink(ctx, "")
	if err != nil {
		return nil, err
	}
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_GATEWAY=http://"+sink.Addr(), "LIFELINE_SCRAPE_INTERVAL=1h")
	if err := s.Agent.Start(ctx); err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	v := victim{process: s.Agent.P, addr: s.Addr.AgentGRPC, sink: sink, scrape: s.Agent.Scrape}
	sample, after, err := v.fill(ctx, f)
	if err != nil {
		return nil, err
	}
	sample[unitHeld] = after.Sum("otelcol_lifeline_held_items")
	sample["flared"] = after.Sum("otelcol_lifeline_flared_items")
	sample["lost"] = after.Sum("otelcol_lifeline_lost_items")
	return sample, nil
}

func (o Outage) stock(ctx context.Context, exporter string, f fill) (Sample, error) {
	dir, err := os.MkdirTemp("", "lifeline-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sink, err := StartSink(ctx, "")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log")) //nolint:gosec // our own directory
	if err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	defer func() { _ = log.Close() }()
	c, err := StartCollector(ctx, Options{Name: "stock", Otelcol: o.Otelcol, Dir: dir, Exporter: exporter, Out: sink.Addr(), Log: log})
	if err != nil {
		return nil, errors.Join(err, sink.Close())
	}
	defer c.Kill()
	v := victim{process: c.Process, addr: c.GRPC, sink: sink, scrape: c.Scrape}
	sample, _, err := v.fill(ctx, f)
	return sample, err
}

// victim is an agent that meets an outage.
type victim struct {
	process *proc.Process
	addr    string // its OTLP/gRPC listener
	sink    *Sink  // what it sends to; gone in the outage
	scrape  func(context.Context) (proc.Samples, error)
}

// warmUp is how many spans are delivered before the outage, so that what an
// agent needs in peace is not counted.
const warmUp = 50_000

// fill lets the agent deliver some spans in peace, takes the sink away and fills
// the agent. Growth is the highest resident memory until the end of the fill,
// less that before the outage. An agent that refuses holds what it acked.
func (v victim) fill(ctx context.Context, f fill) (Sample, proc.Samples, error) {
	pool, err := f.load.Pool(1)
	if err != nil {
		return nil, nil, err
	}
	messages, err := Wire{GRPC: true}.Prepare(f.load.Signal, pool)
	if err != nil {
		return nil, nil, err
	}
	sender := NewSender(v.addr, Wire{GRPC: true})
	defer sender.Close()
	every := time.Second * time.Duration(f.load.Items) / 20_000
	if _, err = sender.Drive(ctx, messages, Plan{Requests: warmUp / f.load.Items, Workers: 4, Every: every}); err != nil {
		return nil, nil, err
	}
	pause(ctx, time.Now().Add(3*time.Second)) // the linger of the last frame, and a breath
	before, err := v.process.RSS()
	if err != nil {
		return nil, nil, err
	}
	if err := v.sink.Close(); err != nil {
		return nil, nil, err
	}
	peak := startPeak(v.process)
	d, err := sender.Drive(ctx, messages, f.plan)
	highest := peak.stop()
	if err != nil {
		return nil, nil, err
	}
	after, err := v.scrape(ctx)
	return Sample{
		unitHeld:     float64(d.Acked * f.load.Items),
		unitGrowth:   float64(highest-before) / mib,
		"RSS-MiB":    float64(highest) / mib,
		"refused":    float64(d.Refused * f.load.Items),
		"spans/s":    float64(d.Acked*f.load.Items) / d.Elapsed.Seconds(),
		"p99-ack-ms": float64(d.Latency(0.99)) / 1e6,
	}, after, err
}

// peak watches the resident memory of a process until stop.
type peak struct {
	quit    chan struct{}
	wg      sync.WaitGroup
	highest int64 // owned by the goroutine until wg is done
}

func startPeak(p *proc.Process) *peak {
	k := &peak{quit: make(chan struct{})}
	k.wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			if rss, err := p.RSS(); err == nil {
				k.highest = max(k.highest, rss)
			}
			select {
			case <-tick.C:
			case <-k.quit:
				return
			}
		}
	})
	return k
}

// stop returns the highest that was seen.
func (k *peak) stop() int64 {
	close(k.quit)
	k.wg.Wait()
	return k.highest
}
