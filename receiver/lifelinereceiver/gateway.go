package lifelinereceiver

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/gcpace"
	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/internal/status"
)

// gateway is the receiver of all signals of one configuration. It takes a request
// from its headers to its answer; each step has an owner that may be used
// concurrently.
type gateway struct {
	// Set before Start, then read-only.
	cfg      *Config
	id       component.ID
	settings component.TelemetrySettings
	sinks    [frame.NumSignals]sink // nil: no pipeline for the signal

	// The way of a request, in its order.
	http      *httpServer
	grpc      *grpcServer
	inflight  inflight.Registry
	lane      *lane
	admission *admission
	workers   *workers
	joins     joins
	receipts  *receipts // nil: no receipts

	// What people see of it.
	health    *health
	telemetry *telemetry

	// Owned by Start and Shutdown.
	unpace     func() // lets go of the garbage collector's pace
	unregister func() // leaves the status page
}

func newGateway(cfg *Config, set receiver.Settings) (*gateway, error) {
	g := &gateway{
		cfg: cfg, id: set.ID, settings: set.TelemetrySettings,
		lane: &gateways.lane, admission: newAdmission(cfg.Admission), workers: newWorkers(), receipts: newReceipts(cfg.ReceiptKeyFile),
		unpace: func() {}, unregister: func() {},
	}
	g.health = &health{cfg: cfg, log: set.Logger, inflight: &g.inflight, receipts: g.receipts}
	viaHTTP, errHTTP := newObserver(set, "http")
	viaGRPC, errGRPC := newObserver(set, "grpc")
	g.http, g.grpc = &httpServer{gateway: g, observer: viaHTTP}, &grpcServer{gateway: g, observer: viaGRPC}
	var own *lane
	if cfg.TrustFlareHeaders {
		own = g.lane
	}
	var err error
	g.telemetry, err = newTelemetry(set, &g.inflight, own)
	return g, errors.Join(errHTTP, errGRPC, err)
}

// heapFloor is how much garbage may collect before it is worth a collection.
const heapFloor = 64 << 20

// Start implements component.Component.
func (g *gateway) Start(ctx context.Context, host component.Host) error {
	demand := gcpace.Demand{Floor: heapFloor, Budget: int64(g.cfg.Admission.MaxInflight)}
	if g.cfg.Passthrough.ToLifeline() {
		demand.Floor = 0 // the exporter's counts: an agent is a guest on its host
	}
	g.unpace = gcpace.Start(demand)
	if g.cfg.TrustFlareHeaders {
		g.settings.Logger.Info("trust_flare_headers is on: this listener believes what senders say about agents and flares; " +
			"it is for recovery, on loopback or behind mTLS")
	}
	err := g.receipts.check()
	if err == nil {
		g.health.start(g.workers.closing)
		err = g.grpc.start(ctx, host)
	}
	if err == nil {
		err = g.http.start(ctx, host)
	}
	if err != nil {
		return errors.Join(err, g.Shutdown(ctx))
	}
	g.unregister = status.Register(host, status.Source{Kind: component.KindReceiver, ID: g.id, Tables: g.tables})
	return nil
}

// Shutdown implements component.Component. It stops listening, refuses what has
// not come far enough to be written, and waits for the rest at most ack_timeout,
// and no longer than ctx. A write that Kafka still holds up then ends with the
// exporter's shutdown.
func (g *gateway) Shutdown(ctx context.Context) error {
	if !g.workers.close() { // a start that failed has been here
		return nil
	}
	g.health.watching.Wait()
	g.health.troubles.Close()
	ctx, cancel := context.WithTimeoutCause(ctx, g.cfg.AckTimeout, errors.New("ack_timeout has passed"))
	defer cancel()

	defer context.AfterFunc(ctx, g.cut)()
	var stopping sync.WaitGroup
	stopping.Go(func() { g.http.stop(ctx) })
	stopping.Go(g.grpc.stop)
	stopping.Wait()

	// Every request has its answer. Writes that were too slow for theirs go on.
	err := g.workers.written(ctx)
	g.cut()
	g.workers.reads.Wait()
	if err == nil {
		g.workers.running.Wait() // else the last one ends with its write
	}
	g.telemetry.close()
	g.unregister()
	g.unpace()
	return err
}

// cut ends every connection.
func (g *gateway) cut() {
	g.http.close()
	g.grpc.close()
}
