package lifelineexporter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/gcpace"
	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
	"github.com/otel-lifeline/lifeline/internal/status"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// registry finds the core of a configuration. The Collector hands the same
// *Config to the exporters of all signals of one component id.
type registry struct {
	mu    sync.Mutex
	cores map[*Config]*core // from the first attach to the last release
}

// attach makes the exporter of one signal, and the core with the first of them.
func (r *registry) attach(ctx context.Context, set exporter.Settings, cfg component.Config, s frame.Signal) (*signalExporter, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.cores[cfg.(*Config)]
	if c == nil {
		var err error
		if c, err = newCore(ctx, set, cfg.(*Config)); err != nil {
			return nil, err
		}
		if r.cores == nil {
			r.cores = map[*Config]*core{}
		}
		r.cores[c.cfg] = c
		c.forget = func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			delete(r.cores, c.cfg)
		}
	}
	c.users++
	c.takes(s)
	return &signalExporter{core: c, signal: s}, nil
}

// core is what the signals of one component id share: the engine with its ring,
// the fallback, metrics and status. It starts with the first signal and drains
// with the last.
type core struct {
	cfg      *Config
	set      exporter.Settings
	metaKeys []string // lower case
	troubles trouble.List
	metrics  *telemetry
	runs     [frame.NumSignals]runCall
	forget   func() // takes the core out of the registry

	// signals are those that may come. Changed only while exporters are made, before Start.
	signals [frame.NumSignals]bool

	mu sync.Mutex
	// mu guards the following.
	users   int // signals that were not shut down
	started bool
	err     error // of the first start
	running *running
}

// running is what a started core owns. It is immutable.
type running struct {
	engine   *delivery.Engine
	reporter *reporter
	client   *otlpclient.Client
	fallback *fallback // nil without flare
	stop     context.CancelFunc
	watchers sync.WaitGroup
	unpace   func() // lets go of the garbage collector's pace
	leave    func() // takes the exporter off the status page
}

func newCore(ctx context.Context, set exporter.Settings, cfg *Config) (*core, error) {
	runs, err := newRunCalls(ctx, set)
	if err != nil {
		return nil, fmt.Errorf("make the inner exporters: %w", err)
	}
	metrics, err := newTelemetry(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, err
	}
	// What is logged are states of the world: where in the code they were noticed
	// tells an operator nothing.
	set.Logger = set.Logger.WithOptions(zap.AddStacktrace(zap.DPanicLevel))
	c := &core{cfg: cfg, set: set, metrics: metrics, runs: runs}
	for _, key := range cfg.MetadataKeys {
		c.metaKeys = append(c.metaKeys, strings.ToLower(key))
	}
	return c, nil
}

// takes notes what comes through the exporter of s: envelopes come through that
// of logs, with requests of any signal.
func (c *core) takes(s frame.Signal) {
	for i, run := range c.runs {
		if run != nil && (s == frame.Logs || s == frame.Signal(i)) {
			c.signals[i] = true
		}
	}
}

// maxFrame returns the most bytes of one encoded piece.
func (c *core) maxFrame() int64 { return int64(c.cfg.Frame.MaxSize) }

var errStopped = errors.New("the exporter is not running")

// accept hands the pieces of one call to the engine.
func (c *core) accept(s frame.Signal, meta map[string][]string, pieces []otlpcodec.Piece) error {
	c.mu.Lock()
	run := c.running
	c.mu.Unlock()
	if run == nil {
		return errStopped
	}
	if c.runs[s] == nil {
		return consumererror.NewPermanent(fmt.Errorf("the exporter does not take %s", s))
	}
	err := run.engine.Accept(s, meta, pieces)
	if errors.Is(err, delivery.ErrTooLarge) {
		return consumererror.NewPermanent(errors.Join(err, passthrough.ErrTooLarge))
	}
	return err
}

// start starts the core with the first signal; the others only add their host.
func (c *core) start(ctx context.Context, host component.Host) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.troubles.Attach(host)
	if !c.started {
		c.started = true
		c.running, c.err = c.run(ctx, host)
	}
	return c.err
}

// heapFloor is how much garbage may collect before it is worth a collection: the
// ring, where telemetry waits, is not on the heap.
const heapFloor = 24 << 20

// run builds and starts everything. It needs no gateway and no bucket, and no
// key file that works; only a broken client configuration is an error.
func (c *core) run(ctx context.Context, host component.Host) (*running, error) {
	client, err := c.newClient(ctx, host)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	r := &running{
		client:   client,
		reporter: &reporter{ctx: ctx, id: c.set.ID.String(), log: c.set.Logger, troubles: &c.troubles, builder: c.metrics.builder},
		stop:     func() {},
	}
	if c.cfg.Flare.HasValue() {
		if r.fallback, err = newFallback(c.cfg.Flare.Get(), &c.troubles, c.set.Logger); err != nil {
			return nil, err
		}
	}
	if r.engine, err = delivery.New(c.settings(r)); err != nil {
		return nil, fmt.Errorf("make the engine: %w", err)
	}
	if err := r.engine.Start(ctx); err != nil {
		return nil, fmt.Errorf("start the engine: %w", err)
	}
	if r.fallback != nil {
		watch, stop := context.WithCancel(ctx)
		r.stop = stop
		r.watchers.Go(func() { r.fallback.watch(watch) })
	}
	server := c.cfg.server()
	_, secure := server.TLS()
	ends := clientEnd(secure.Config)
	read := func() reading { return c.reading(r, ends()) }
	c.metrics.observe(read)
	r.leave = status.Register(host, status.Source{
		Kind: component.KindExporter, ID: c.set.ID, Tables: func() []*status.Table { return c.tables(read()) },
	})
	r.unpace = gcpace.Start(gcpace.Demand{Floor: heapFloor})
	c.set.Logger.Info("The ring is ready. It grows to its capacity in an outage: leave it that room under the memory limit.",
		zap.Stringer("capacity", c.cfg.Ring.Capacity), zap.Duration("max_age", c.cfg.Ring.MaxAge), zap.Bool("flare", r.fallback != nil))
	warnOfLimit(c.set.Logger, cgroupLimit, c.cfg.Ring.Capacity)
	return r, nil
}

// settings translates the configuration for the engine.
func (c *core) settings(r *running) delivery.Settings {
	s := delivery.Settings{
		Agent:    c.agent(r.fallback),
		Audience: c.cfg.Audience,
		Version:  c.set.BuildInfo.Version,
		Frame:    delivery.FrameSettings{MaxSize: c.maxFrame(), Linger: c.cfg.Frame.Linger},
		Ring:     delivery.RingSettings{Capacity: int64(c.cfg.Ring.Capacity), MaxAge: c.cfg.Ring.MaxAge, Refuse: c.cfg.Ring.WhenFull == refuse},
		Retry: delivery.RetrySettings{
			InitialInterval: c.cfg.Retry.InitialInterval, MaxInterval: c.cfg.Retry.MaxInterval, Timeout: c.cfg.Timeout,
		},
		Senders:         c.cfg.Senders,
		NewestFirst:     c.cfg.Order == newestFirst,
		ShutdownTimeout: c.cfg.ShutdownTimeout,
		Transport:       r.client,
		Call: func(ctx context.Context, s frame.Signal, items int64, do func(context.Context) error) error {
			return c.runs[s](ctx, &call{items: items, do: do})
		},
		Observer: r.reporter.observer(),
	}
	if r.fallback != nil {
		s.Flare = &delivery.FlareSettings{
			Targets: r.fallback.targets(),
			MaxSize: int64(c.cfg.flareSize()),
			Budget:  int64(c.cfg.Flare.Get().Budget),
			Sealer:  r.fallback.sealer,

			DrillInterval: c.cfg.Flare.Get().DrillInterval,
		}
	}
	return s
}

// agent returns the name of this agent, as far as its keys can be read now.
func (c *core) agent(f *fallback) string {
	var sealer *flare.Sealer
	if f != nil && c.cfg.Agent == "" {
		sealer, _ = f.sealer() // what is wrong with the files is told by f
	}
	return c.cfg.AgentName(sealer)
}

// reading is taken once per scrape. It also notices receipt keys while nothing is sent.
func (c *core) reading(r *running, clientEnds time.Time) reading {
	r.client.CheckReceipts()
	now := reading{items: r.engine.Snapshot(), signals: c.signals, gateway: r.client.NotAfter(), client: clientEnds}
	if r.fallback != nil {
		now.hasFlare, now.ready = true, r.fallback.ready()
		if sealer, err := r.fallback.keys.Get(); err == nil {
			_, now.signingAt = flare.SignerPrincipal(sealer.Signer)
		}
	}
	return now
}

// release ends one signal. The last one drains the ring.
func (c *core) release(ctx context.Context, s frame.Signal) error {
	c.mu.Lock()
	c.users--
	last, run := c.users == 0, c.running
	c.mu.Unlock()
	if run != nil {
		run.engine.CloseIntake(s)
	}
	if !last {
		return nil
	}
	c.forget()
	if run == nil {
		return nil
	}
	c.troubles.Close()
	err := run.engine.Shutdown(context.WithoutCancel(ctx)) // shutdown_timeout is the bound
	run.stop()
	run.watchers.Wait()
	c.metrics.freeze()
	run.reporter.close()
	farewell(c.set.Logger, run.engine.Snapshot())
	run.leave()
	run.client.Close()
	if run.fallback != nil {
		run.fallback.close()
	}
	run.unpace()
	c.mu.Lock()
	c.running = nil
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("drain the ring: %w", err)
	}
	return nil
}
