package lifelinereceiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/gcpace"
	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// gateway is the receiver of all signals of one configuration.
type gateway struct {
	// Set before Start, then read-only.
	cfg       *Config
	settings  component.TelemetrySettings
	telemetry *telemetry
	log       *zap.Logger
	sinks     [frame.NumSignals]sink // nil: no pipeline for the signal
	viaHTTP   observer
	viaGRPC   observer
	admission *admission
	// processors holds one token per request that is being decompressed, converted
	// or checked. Its capacity is the number of processors.
	processors chan struct{}
	receipts   *reload.File[*receipt.Keys] // nil: no receipts
	inflight   inflight.Registry
	joins      joins
	workers    *workers
	lane       *lane

	// Owned by Start and Shutdown.
	host       component.Host
	httpServer *http.Server
	grpcServer *grpc.Server
	httpAddr   net.Addr
	grpcAddr   net.Addr
	serving    sync.WaitGroup // one per listener
	watching   sync.WaitGroup // the watch
	stop       chan struct{}  // closed to end it
	unpace     func()         // lets go of the garbage collector's pace

	unread atomic.Int64 // gRPC streams whose body has not been read

	mu      sync.Mutex
	closed  bool           // mu guards it, and counters going up
	writes  sync.WaitGroup // one per request being written
	readers sync.WaitGroup // one per gRPC body being read
}

func newGateway(cfg *Config, set receiver.Settings) (*gateway, error) {
	g := &gateway{
		cfg:       cfg,
		settings:  set.TelemetrySettings,
		log:       set.Logger,
		admission: newAdmission(cfg.Admission),

		processors: make(chan struct{}, runtime.GOMAXPROCS(0)),
		workers:    newWorkers(),
		lane:       &gateways.lane,
		stop:       make(chan struct{}),
		unpace:     func() {},
	}
	if cfg.ReceiptKeyFile != "" {
		g.receipts = newReceipts(cfg.ReceiptKeyFile)
	}
	var err error
	var own *lane
	if cfg.TrustFlareHeaders {
		own = g.lane
	}
	if g.telemetry, err = newTelemetry(set, &g.inflight, own); err != nil {
		return nil, err
	}
	for transport, o := range map[string]*observer{"http": &g.viaHTTP, "grpc": &g.viaGRPC} {
		report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
			ReceiverID: set.ID, Transport: transport, ReceiverCreateSettings: set,
		})
		if err != nil {
			return nil, err
		}
		o.report = report
	}
	return g, nil
}

// heapFloor is how much garbage may collect before it is worth a collection.
const heapFloor = 64 << 20

// Start implements component.Component.
func (g *gateway) Start(ctx context.Context, host component.Host) error {
	g.host = host
	demand := gcpace.Demand{Floor: heapFloor, Budget: int64(g.cfg.Admission.MaxInflight)}
	if g.cfg.Passthrough.ToLifeline() {
		demand.Floor = 0 // the exporter's counts: an agent is a guest on its host
	}
	g.unpace = gcpace.Start(demand)
	if g.cfg.TrustFlareHeaders {
		g.log.Info("trust_flare_headers is on: this listener believes what senders say about agents and flares; " +
			"it is for recovery, on loopback or behind mTLS")
	}
	err := g.checkReceipts()
	if err == nil {
		err = g.startGRPC(ctx, host)
	}
	if err == nil {
		err = g.startHTTP(ctx, host)
	}
	if err != nil {
		return errors.Join(err, g.Shutdown(ctx))
	}
	g.watching.Go(g.watch)
	return nil
}

// serve runs a listener until its server is stopped.
func (g *gateway) serve(host component.Host, listen func() error, stopped error) {
	g.serving.Go(func() {
		if err := listen(); err != nil && !errors.Is(err, stopped) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
}

// enter counts one more in wg, unless the gateway is closed.
func (g *gateway) enter(wg *sync.WaitGroup) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		wg.Add(1)
	}
	return !g.closed
}

// Shutdown implements component.Component. It stops listening, refuses what has
// not come far enough to be written, and waits for the rest at most ack_timeout,
// and no longer than ctx. A write that Kafka still holds up then ends with the
// exporter's shutdown.
func (g *gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	again := g.closed // a start that failed has been here
	g.closed = true
	g.mu.Unlock()
	if again {
		return nil
	}
	close(g.stop)
	g.watching.Wait()
	ctx, cancel := context.WithTimeoutCause(ctx, g.cfg.AckTimeout, errors.New("ack_timeout has passed"))
	defer cancel()

	var stopping sync.WaitGroup
	if g.httpServer != nil {
		stopping.Go(func() { _ = g.httpServer.Shutdown(ctx) }) // closeServers ends what it leaves
	}
	if g.grpcServer != nil {
		stopping.Go(g.grpcServer.GracefulStop)
	}
	defer context.AfterFunc(ctx, g.closeServers)()
	stopping.Wait()

	// Every request has its answer. Writes that were too slow for theirs go on.
	written := make(chan struct{})
	var writing sync.WaitGroup // ends with the last write, which nobody may wait for after ctx
	writing.Go(func() {
		g.writes.Wait()
		close(written)
	})
	select {
	case <-written:
	case <-ctx.Done():
	}
	var err error
	if ctx.Err() != nil {
		err = fmt.Errorf("requests were cut off: %w", context.Cause(ctx))
	}
	g.closeServers()
	g.serving.Wait()
	g.readers.Wait()
	g.workers.close()
	if err == nil {
		g.workers.wg.Wait() // else it ends with the last write
	}
	g.telemetry.close()
	g.unpace()
	return err
}

// closeServers ends every connection.
func (g *gateway) closeServers() {
	if g.httpServer != nil {
		_ = g.httpServer.Close() // its listener was closed before
	}
	if g.grpcServer != nil {
		g.grpcServer.Stop()
	}
}
