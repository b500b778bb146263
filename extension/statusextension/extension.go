package statusextension

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/status"
)

// stopTimeout bounds the wait for pages that are being made, if the caller's
// context does not.
const stopTimeout = 3 * time.Second

// statusExtension is the page, which takes sources also while nobody serves it.
type statusExtension struct {
	sources

	cfg *Config
	set extension.Settings

	// Owned by Start and Shutdown.
	addr    net.Addr
	server  *http.Server // nil: not started
	serving sync.WaitGroup
}

var (
	_ extension.Extension             = (*statusExtension)(nil)
	_ extensioncapabilities.Dependent = (*statusExtension)(nil)
	_ status.Page                     = (*statusExtension)(nil)
)

func newExtension(set extension.Settings, cfg *Config) *statusExtension {
	return &statusExtension{cfg: cfg, set: set}
}

// Dependencies names the extensions that the server uses.
func (e *statusExtension) Dependencies() (ids []component.ID) {
	if auth := e.cfg.Auth.Get(); auth != nil {
		ids = append(ids, auth.AuthenticatorID)
	}
	for _, m := range e.cfg.Middlewares {
		ids = append(ids, m.ID)
	}
	return ids
}

// Start begins to serve.
func (e *statusExtension) Start(ctx context.Context, host component.Host) error {
	listener, err := e.cfg.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("endpoint: %w; give this collector another one, or take lifeline_status out of service::extensions", err)
	}
	handler := newHandler(&e.sources, e.set.BuildInfo)
	if loopback(listener.Addr()) {
		handler = ownNamesOnly(handler)
	} else if !e.cfg.Auth.HasValue() {
		e.set.Logger.Warn("Everybody who can reach the status page may read the names of agents on it: "+
			"set endpoint to localhost, or auth.", zap.Stringer("endpoint", listener.Addr()))
	}
	server, err := e.cfg.ToServer(ctx, host.GetExtensions(), e.set.TelemetrySettings, handler)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	e.server, e.addr = server, listener.Addr()
	e.serving.Go(func() { e.serve(host, listener) })
	e.set.Logger.Info("The status page is served.", zap.Stringer("endpoint", e.addr), zap.String("path", pagePath))
	return nil
}

// serve serves until Shutdown. What ends it before that is no reason to stop
// telemetry.
func (e *statusExtension) serve(host component.Host, listener net.Listener) {
	if err := e.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(fmt.Errorf("the status page is no longer served: %w", err)))
	}
}

// Shutdown waits for pages that are being made, within ctx and stopTimeout. It is
// idempotent and may be called without Start.
func (e *statusExtension) Shutdown(ctx context.Context) error {
	if e.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := e.server.Shutdown(ctx)
	if err != nil { // a client that does not read
		err = e.server.Close()
	}
	e.serving.Wait()
	return err
}
