package statusextension

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-lifeline/lifeline/extension/statusextension/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/status"
)

// host has extensions, and remembers what was reported.
type host struct {
	extensions map[component.ID]component.Component
	reported   chan *componentstatus.Event
}

func (h *host) GetExtensions() map[component.ID]component.Component { return h.extensions }
func (h *host) Report(e *componentstatus.Event)                     { h.reported <- e }

func newTestExtension(endpoint string) (*statusExtension, *host, *observer.ObservedLogs) {
	cfg := createDefaultConfig().(*Config)
	cfg.NetAddr.Endpoint = endpoint
	core, logs := observer.New(zap.InfoLevel)
	set := extensiontest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(core)
	e := newExtension(set, cfg)
	other := component.MustNewID("other")
	return e, &host{
		extensions: map[component.ID]component.Component{set.ID: e, other: nil},
		reported:   make(chan *componentstatus.Event, 1),
	}, logs
}

// get asks a page that is served for its JSON.
func get(t *testing.T, e *statusExtension) (c struct {
	Components []struct {
		Component string
		Problem   string
		Tables    []struct {
			Title string
			Rows  []map[string]any
			More  int
		}
	}
},
) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+e.addr.String()+jsonPath, http.NoBody)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode, string(text))
	require.NoError(t, json.Unmarshal(text, &c), string(text))
	return c
}

// says is a component that says a word.
func says(name, word string) status.Source {
	return status.Source{Kind: component.KindReceiver, ID: component.MustNewID(name), Tables: func() []*status.Table {
		return []*status.Table{status.NewTable("words", "a word").Add(status.Text(word))}
	}}
}

// TestLifecycle: a component is on the page from its start to its end, whichever
// of the two starts first, and also when it comes back.
func TestLifecycle(t *testing.T) {
	e, h, logs := newTestExtension("localhost:0")
	unregister := status.Register(h, says("first", "early"))
	require.NoError(t, e.Start(t.Context(), h))
	require.Zero(t, logs.FilterLevelExact(zap.WarnLevel).Len())
	seen := get(t, e)
	require.Len(t, seen.Components, 1)
	require.Equal(t, "receivers::first", seen.Components[0].Component)
	require.Equal(t, "words", seen.Components[0].Tables[0].Title)
	require.Equal(t, []map[string]any{{"a_word": "early"}}, seen.Components[0].Tables[0].Rows)

	again := status.Register(h, says("first", "late"))
	unregister()
	unregister()
	require.Equal(t, []map[string]any{{"a_word": "late"}}, get(t, e).Components[0].Tables[0].Rows)
	again()
	require.Empty(t, get(t, e).Components)

	require.NoError(t, e.Shutdown(t.Context()))
	require.NoError(t, e.Shutdown(t.Context()))
	status.Register(h, says("last", "nobody hears it"))()
	require.Empty(t, h.reported)
}

func TestPortInUse(t *testing.T) {
	first, h, _ := newTestExtension("localhost:0")
	require.NoError(t, first.Start(t.Context(), h))
	second, h, _ := newTestExtension(first.addr.String())
	require.ErrorContains(t, second.Start(t.Context(), h), "endpoint: ")
	require.NoError(t, second.Shutdown(t.Context()))
	require.NoError(t, first.Shutdown(t.Context()))
}

func TestNoServerFromABrokenConfiguration(t *testing.T) {
	e, h, _ := newTestExtension("localhost:0")
	auth := configauth.Config{AuthenticatorID: component.MustNewID("nobody")}
	middleware := component.MustNewID("nothing")
	e.cfg.Auth = configoptional.Some(confighttp.AuthConfig{Config: auth})
	e.cfg.Middlewares = []configmiddleware.Config{{ID: middleware}}
	require.Equal(t, []component.ID{auth.AuthenticatorID, middleware}, e.Dependencies())
	require.Error(t, e.Start(t.Context(), h))
	require.NoError(t, e.Shutdown(t.Context()))
}

func TestWarnsWhenOthersMayRead(t *testing.T) {
	e, h, logs := newTestExtension("0.0.0.0:0")
	require.NoError(t, e.Start(t.Context(), h))
	require.Equal(t, 1, logs.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("set endpoint to localhost").Len())
	require.NoError(t, e.Shutdown(t.Context()))
}

// TestLosesItsListener: the Collector goes on without a page.
func TestLosesItsListener(t *testing.T) {
	e, h, _ := newTestExtension("localhost:0")
	listener, err := e.cfg.ToListener(t.Context())
	require.NoError(t, err)
	e.server = &http.Server{ReadHeaderTimeout: time.Second}
	require.NoError(t, listener.Close())
	e.serve(h, listener)
	require.Equal(t, componentstatus.StatusRecoverableError, (<-h.reported).Status())
	require.NoError(t, e.Shutdown(t.Context()))
}
