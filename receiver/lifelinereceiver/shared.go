package lifelinereceiver

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
)

// gateways holds the gateway of every configuration in use. The Collector
// creates one receiver per signal with the same *Config; they share one gateway.
var gateways = registry{entries: map[*Config]*shared{}}

type registry struct {
	mu      sync.Mutex
	entries map[*Config]*shared // mu guards it
	lane    lane
}

// share returns the receiver of cfg, made when it is not there, after attach
// gave it one more pipeline.
func (r *registry) share(cfg *Config, set receiver.Settings, attach func(*gateway)) (*shared, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.entries[cfg]
	if !ok {
		g, err := newGateway(cfg, set)
		if err != nil {
			return nil, err
		}
		s = &shared{gateway: g, forget: func() { r.forget(cfg) }}
		r.entries[cfg] = s
	}
	attach(s.gateway)
	return s, nil
}

func (r *registry) forget(cfg *Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, cfg)
}

// shared is one gateway seen as the receiver of several signals. The first Start
// starts it, and every one adds a host that is told of its troubles. The first
// Shutdown stops it: pipelines of other signals may be stopped next, so nothing
// must be taken any more.
type shared struct {
	gateway     *gateway
	start, stop sync.Once
	forget      func()
}

// Start implements component.Component.
func (s *shared) Start(ctx context.Context, host component.Host) (err error) {
	s.gateway.health.troubles.Attach(host)
	s.start.Do(func() { err = s.gateway.Start(ctx, host) })
	return err
}

// Shutdown implements component.Component.
func (s *shared) Shutdown(ctx context.Context) (err error) {
	s.stop.Do(func() {
		s.forget()
		err = s.gateway.Shutdown(ctx)
	})
	return err
}
