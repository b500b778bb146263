package otlpclient

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// http makes a client with connections of its own. confighttp keeps its
// http.Transport to itself; as the innermost middleware we get it, and give it
// our dialer.
func (m *maker) http() (*otlpsend.HTTPConn, error) {
	var transport *http.Transport
	inner := &middleware{wrap: func(_ context.Context, rt http.RoundTripper) (http.RoundTripper, error) {
		t, ok := rt.(*http.Transport)
		if !ok {
			return nil, fmt.Errorf("the innermost transport is a %T", rt)
		}
		t.DialContext = m.dial
		transport = t
		return rt, nil
	}}
	cfg := *m.cfg.HTTP
	cfg.Middlewares = append(slices.Clone(cfg.Middlewares), configmiddleware.Config{ID: dialerID})
	extensions := maps.Clone(m.extensions)
	if extensions == nil {
		extensions = map[component.ID]component.Component{}
	}
	extensions[dialerID] = inner
	if cfg.MaxIdleConnsPerHost == 0 {
		cfg.MaxIdleConnsPerHost = m.cfg.Senders
	}
	client, err := cfg.ToClient(m.ctx, extensions, m.set)
	if err != nil {
		return nil, err
	}
	return &otlpsend.HTTPConn{Client: client, Close: transport.CloseIdleConnections}, nil
}

// dialerID cannot be written in a configuration file.
var dialerID = component.NewIDWithName(component.MustNewType("lifeline"), "dialer ")

// middleware is an extension that nobody configured.
type middleware struct {
	component.StartFunc
	component.ShutdownFunc
	wrap extensionmiddleware.WrapHTTPRoundTripperFunc
}

// GetHTTPRoundTripper implements extensionmiddleware.HTTPClient.
func (m *middleware) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return m.wrap, nil
}
