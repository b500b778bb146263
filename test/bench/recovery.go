package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// Recovery measures how fast a backlog of flares comes from a bucket into Kafka,
// and what live traffic through the same gateway feels of it. Recovery and gateway
// are processes with the shipped configs. Kafka is kfake, which throws the records
// away, and S3 is embedded: both run in this process, on the same cores.
type Recovery struct {
	Otelcol, Lifeline string    // the binaries, absolute
	Configs           string    // the directory of the shipped configs, absolute
	Out               io.Writer // a line per run
	Rounds            int
	Flares            int // of up to 8 MiB, in one backlog
}

const (
	unitEndToEnd = "MB/s"
	unitOwnCPU   = "MB/s-of-own-CPU"
	unitOverIdle = "RSS-over-idle-MiB"
	unitAlone    = "p99-alone-ms"
	unitBeside   = "p99-beside-ms"

	drainName = "Recovery/do=drain"
	liveName  = "Recovery/do=drain-beside-live"
)

// The live traffic: 20,000 spans a second, in requests of 100. Both measurements
// of its latency take as long; the second begins when the backlog begins to move.
const (
	liveItems = 100
	liveEvery = 5 * time.Millisecond
	liveFor   = 8 * time.Second
	breath    = 2 * time.Second // after a start, until a process is idle
)

// Run drains a backlog twice a round, without and with live traffic, and returns
// the medians and what they should be.
func (r Recovery) Run(ctx context.Context) (summary []string, err error) {
	dir, err := os.MkdirTemp("", "lifeline-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.BlackholeProduce(), kfake.SeedTopics(kafka.Partitions, kafka.Topics()...))
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	defer broker.Close()
	s, err := stack.New(ctx, stack.Options{Otelcol: r.Otelcol, Lifeline: r.Lifeline, Configs: r.Configs, Dir: dir, Brokers: broker.ListenAddrs()[0]})
	defer func() { err = errors.Join(err, s.Close()) }()
	if err != nil {
		return nil, err
	}
	b, err := newBacklog(r.Flares)
	if err != nil {
		return nil, err
	}
	if err := s.Gateway.Start(ctx); err != nil {
		return nil, err
	}
	live, err := newLive(s.Addr.GatewayGRPC)
	if err != nil {
		return nil, err
	}
	defer live.sender.Close()
	d := drain{s, b, live}
	ratio := float64(b.raw) / float64(b.stored)
	fmt.Fprintf(r.Out, "# %d flares, %d MB of telemetry, zstd-fastest ratio %.2f\n", r.Flares, b.raw/1e6, ratio)
	var t Table
	if err := t.Compare(ctx, r.Out, r.Rounds, []Subject{{drainName, d.alone}, {liveName, d.besideLive}}); err != nil {
		return nil, err
	}
	return []string{
		fmt.Sprintf("recovery, zstd-fastest ratio %.2f: %.0f MB/s from S3 into Kafka, %.0f MB/s for each core of its own, RSS %.0f MiB over idle",
			ratio, t.Median(drainName, unitEndToEnd), t.Median(drainName, unitOwnCPU), t.Median(drainName, unitOverIdle)),
		fmt.Sprintf("  beside live traffic: %.0f MB/s; its p99 %.2f ms before, %.2f ms meanwhile",
			t.Median(liveName, unitEndToEnd), t.Median(liveName, unitAlone), t.Median(liveName, unitBeside)),
		atLeast("MB/s of telemetry, end to end", t.Median(drainName, unitEndToEnd), 150),
		atLeast("MB/s of telemetry, recovery's core", t.Median(drainName, unitOwnCPU), 600),
		target("MiB of RSS over idle", t.Median(drainName, unitOverIdle), 150),
		target("p99 ack latency, of that before", t.Median(liveName, unitBeside)/t.Median(liveName, unitAlone), 2),
	}, nil
}

// liveTraffic is what agents send meanwhile.
type liveTraffic struct {
	sender   *Sender
	messages []Message
}

func newLive(gateway string) (*liveTraffic, error) {
	pool, err := Load{Signal: frame.Traces, Items: liveItems}.Pool(2)
	if err != nil {
		return nil, err
	}
	wire := Wire{GRPC: true}
	messages, err := wire.Prepare(frame.Traces, pool)
	return &liveTraffic{NewSender(gateway, wire), messages}, err
}

// p99 drives the traffic for a while and returns the time to an ack in ms.
func (l *liveTraffic) p99(ctx context.Context) (float64, error) {
	d, err := l.sender.Drive(ctx, l.messages, Plan{Requests: int(liveFor / liveEvery), Workers: 16, Every: liveEvery})
	if err == nil && d.Refused > 0 {
		err = fmt.Errorf("%d of the live requests were refused", d.Refused)
	}
	return float64(d.Latency(0.99)) / float64(time.Millisecond), err
}

// drain is one recovery that meets a backlog.
type drain struct {
	*stack.Stack
	backlog *backlog
	live    *liveTraffic
}

// ready starts a recovery with nothing to do, and stops its clock while the bucket
// is filled. It returns what it had resident.
func (d drain) ready(ctx context.Context) (idle int64, err error) {
	d.Recovery.Env = append(d.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
	if err := d.Recovery.Start(ctx); err != nil {
		return 0, err
	}
	pause(ctx, time.Now().Add(breath))
	if idle, err = d.Recovery.P.RSS(); err != nil {
		return 0, err
	}
	// An error leaves the process to the stack's Close.
	return idle, errors.Join(d.Recovery.P.Pause(), d.backlog.put(ctx, d.Stack))
}

// alone drains the backlog.
func (d drain) alone(ctx context.Context) (sample Sample, err error) {
	idle, err := d.ready(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop(ctx)) }()
	if err := d.moves(ctx); err != nil {
		return nil, err
	}
	used, err := d.Recovery.P.CPU()
	if err != nil {
		return nil, err
	}
	begin, peak := time.Now(), startPeak(d.Recovery.P)
	err = d.empty(ctx)
	took, highest := time.Since(begin), peak.stop()
	now, cpuErr := d.Recovery.P.CPU()
	if err := errors.Join(err, cpuErr); err != nil {
		return nil, err
	}
	mb := d.telemetry(len(d.backlog.flares) - 1)
	return Sample{
		unitEndToEnd: mb / took.Seconds(), unitOwnCPU: mb / (now - used).Seconds(),
		unitOverIdle: float64(highest-idle) / mib, "RSS-idle-MiB": float64(idle) / mib,
	}, nil
}

// moves lets recovery go on and returns when it is through with the first flare:
// what it does at a start, and every poll_interval, is not what is measured.
func (d drain) moves(ctx context.Context) error {
	if err := d.Recovery.P.Resume(); err != nil {
		return err
	}
	return proc.Until(ctx, time.Millisecond, func(context.Context) (bool, error) {
		n, err := left(d.Stack)
		return n < len(d.backlog.flares), err
	})
}

// telemetry returns how much so many of the flares hold, in MB.
func (d drain) telemetry(flares int) float64 {
	return float64(d.backlog.raw) / 1e6 * float64(flares) / float64(len(d.backlog.flares))
}

// empty waits until the bucket holds no flare any more.
func (d drain) empty(ctx context.Context) error {
	return proc.Until(ctx, 20*time.Millisecond, func(context.Context) (bool, error) {
		n, err := left(d.Stack)
		return n == 0, err
	})
}

// besideLive drains the backlog while agents send.
func (d drain) besideLive(ctx context.Context) (sample Sample, err error) {
	if _, err := d.ready(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.stop(ctx)) }()
	alone, err := d.live.p99(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.moves(ctx); err != nil {
		return nil, err
	}
	before, begin := len(d.backlog.flares)-1, time.Now()
	beside, err := d.live.p99(ctx)
	if err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := left(d.Stack)
	if err == nil && after == 0 {
		err = errors.New("the backlog is too small: it was gone before the live traffic was measured")
	}
	if err != nil {
		return nil, err
	}
	mb := d.telemetry(before - after)
	// The next run is to find an empty bucket.
	return Sample{unitEndToEnd: mb / took.Seconds(), unitAlone: alone, unitBeside: beside}, d.empty(ctx)
}

// stop ends recovery in peace: the next one is not to wait for its leases.
func (d drain) stop(ctx context.Context) error {
	return errors.Join(d.Recovery.P.Resume(), d.Recovery.Stop(ctx))
}
