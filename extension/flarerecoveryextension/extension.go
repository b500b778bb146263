package flarerecoveryextension

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/internal/status"
)

// stopTimeout bounds the wait for the loop when the caller's context does not.
const stopTimeout = 15 * time.Second

// store is the bucket, with credentials that need care and connections to close.
type store interface {
	bucket.Bucket
	Refresh(ctx context.Context) error
	Close()
}

type recoveryExtension struct {
	cfg       *Config
	set       extension.Settings
	openStore func(s3bucket.Config) (store, error) // replaced in tests
	reporter  *reporter

	// Set by Start.
	loop    *recovery.Loop
	client  *otlpclient.Client
	bucket  store
	metrics *metrics
	leave   func() // takes recovery off the status page

	mu sync.Mutex
	// mu guards the following.
	cancel context.CancelFunc // nil: the loop does not run
	done   chan struct{}      // closed when it ended
	wg     sync.WaitGroup
	start  context.Context // of Start, without its end
}

var (
	_ extension.Extension                   = (*recoveryExtension)(nil)
	_ extensioncapabilities.PipelineWatcher = (*recoveryExtension)(nil)
	_ extensioncapabilities.Dependent       = (*recoveryExtension)(nil)
)

func newExtension(set extension.Settings, cfg *Config) *recoveryExtension {
	return &recoveryExtension{
		cfg: cfg, set: set, openStore: func(c s3bucket.Config) (store, error) { return s3bucket.New(c) },
		reporter: &reporter{log: set.Logger},
	}
}

// Dependencies names the extensions that the client of the gateway uses.
func (e *recoveryExtension) Dependencies() []component.ID {
	server := e.cfg.Forward.Server()
	return server.Dependencies()
}

// Start makes everything and runs nothing: the loop waits for Ready. It fails
// only for what no restart of anything else can heal; a bucket, a gateway or a
// key file that is not there yet is reported and waited for.
func (e *recoveryExtension) Start(ctx context.Context, host component.Host) error {
	if err := flare.CheckFIPS(); err != nil {
		return fmt.Errorf("flare_recovery: %w", err)
	}
	e.reporter.troubles.Attach(host)
	server := e.cfg.Forward.Server()
	server.ReceiptKeys = e.reporter.receipts
	client, err := otlpclient.New(ctx, server, host, e.set.TelemetrySettings)
	if err != nil {
		return fmt.Errorf("forward::%w", err)
	}
	e.client = client
	if e.bucket, err = e.openStore(e.cfg.S3); err != nil {
		return fmt.Errorf("s3: %w", err)
	}
	e.loop = recovery.New(e.settings(client))
	if e.metrics, err = newMetrics(e.set, e.loop.Snapshot); err != nil {
		return err
	}
	e.leave = status.Register(host, status.Source{Kind: component.KindExtension, ID: e.set.ID, Tables: func() []*status.Table {
		return tables(&e.reporter.troubles, e.loop.Snapshot())
	}})
	e.mu.Lock()
	defer e.mu.Unlock()
	e.start = context.WithoutCancel(ctx)
	return nil
}

func (e *recoveryExtension) settings(t otlpsend.Transport) recovery.Settings {
	r, ring := e.reporter, newKeyring(e.cfg)
	return recovery.Settings{
		Bucket: e.bucket,
		Refresh: func(ctx context.Context) {
			if err := e.bucket.Refresh(ctx); !errors.Is(err, context.Canceled) {
				r.store(err)
			}
		},
		Prefix: e.cfg.S3.Prefix, StatePrefix: e.cfg.StatePrefix,
		Keys: func() *recovery.Keys {
			e.client.CheckReceipts()
			keys := ring.current()
			r.keys(ring.problem())
			return keys
		},
		Gateway: recovery.Gateway{
			Transport: t, Timeout: e.cfg.Forward.Timeout, Audience: e.cfg.Audience, TenantHeader: e.cfg.Forward.TenantHeader,
			MaxRate: int64(e.cfg.MaxRate), Senders: senders,
		},
		Flares: visits, Lease: e.cfg.Lease,
		PollInterval: e.cfg.PollInterval, MaxAge: e.cfg.MaxAge, QuarantineMaxBytes: int64(e.cfg.Quarantine.MaxBytes),
		Observer: recovery.Observer{Path: r.path, Flare: r.flare},
	}
}

// Ready starts the loop. Before that an error in another component could still
// stop the collector in the middle of a flare.
func (e *recoveryExtension) Ready() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cancel != nil || e.start == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(e.start)
	done := make(chan struct{})
	e.cancel, e.done = cancel, done
	e.wg.Go(func() {
		defer close(done)
		e.loop.Run(ctx)
	})
	return nil
}

// NotReady stops the loop.
func (e *recoveryExtension) NotReady() error {
	e.mu.Lock()
	start := e.start
	e.mu.Unlock()
	if start == nil {
		return nil
	}
	return e.stop(start)
}

// Shutdown stops the loop and closes what Start made. It is idempotent and may
// be called without Start.
func (e *recoveryExtension) Shutdown(ctx context.Context) error {
	e.reporter.troubles.Close()
	err := e.stop(ctx)
	e.mu.Lock()
	e.start = nil // Ready starts nothing any more
	e.mu.Unlock()
	if e.leave != nil {
		e.leave()
	}
	if e.metrics != nil {
		e.metrics.close()
	}
	if e.client != nil {
		e.client.Close()
	}
	if e.bucket != nil {
		e.bucket.Close()
	}
	return err
}

// stop ends the loop and waits for it, within ctx and stopTimeout.
func (e *recoveryExtension) stop(ctx context.Context) error {
	e.mu.Lock()
	cancel, done := e.cancel, e.done
	e.cancel = nil
	e.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-done:
		e.wg.Wait()
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return errors.New("flare_recovery: the loop did not end in time; the next start does again what was cut off")
}
