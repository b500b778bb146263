package lifelineexporter

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-lifeline/lifeline/exporter/lifelineexporter/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
)

const protobuf = "application/x-protobuf"

// agent is a started exporter of all three signals and everything it says.
type agent struct {
	t       *testing.T
	factory exporter.Factory
	cfg     *Config
	set     exporter.Settings
	tel     *componenttest.Telemetry
	log     *observer.ObservedLogs
	said    chan string // every line
	host    *host

	traces  exporter.Traces
	metrics exporter.Metrics
	logs    exporter.Logs
}

// newAgent makes an agent of endpoint that tries again quickly and has time to
// send what it holds at its end; start starts it.
func newAgent(t *testing.T, endpoint string, changes ...func(*Config)) *agent {
	cfg := createDefaultConfig().(*Config)
	client := *cfg.HTTP.GetOrInsertDefault()
	client.Endpoint = endpoint
	cfg.HTTP = configoptional.Some(client)
	cfg.Agent = "acme/host-17"
	cfg.Frame.Linger = 0
	cfg.Retry = RetryConfig{InitialInterval: time.Millisecond, MaxInterval: 5 * time.Millisecond}
	cfg.ShutdownTimeout = time.Minute
	for _, change := range changes {
		change(cfg)
	}
	core, logs := observer.New(zap.InfoLevel)
	a := &agent{t: t, factory: NewFactory(), cfg: cfg, tel: componenttest.NewTelemetry(), log: logs, host: &host{events: make(chan *componentstatus.Event, 100)}, said: make(chan string, 10000)}
	a.set = exporter.Settings{ID: component.NewIDWithName(metadata.Type, "7"), TelemetrySettings: a.tel.NewTelemetrySettings()}
	a.set.Logger = zap.New(core, zap.Hooks(func(line zapcore.Entry) error {
		select {
		case a.said <- line.Message:
		default:
		}
		return nil
	}))
	t.Cleanup(func() { require.NoError(t, a.tel.Shutdown(context.Background())) })
	a.create()
	return a
}

func (a *agent) create() {
	var err error
	a.traces, err = a.factory.CreateTraces(a.t.Context(), a.set, a.cfg)
	require.NoError(a.t, err)
	a.metrics, err = a.factory.CreateMetrics(a.t.Context(), a.set, a.cfg)
	require.NoError(a.t, err)
	a.logs, err = a.factory.CreateLogs(a.t.Context(), a.set, a.cfg)
	require.NoError(a.t, err)
}

func (a *agent) each(do func(component.Component)) {
	for _, c := range []component.Component{a.traces, a.metrics, a.logs} {
		do(c)
	}
}

// start starts all signals, and shuts them down with the test.
func (a *agent) start() *agent {
	a.each(func(c component.Component) { require.NoError(a.t, c.Start(a.t.Context(), a.host)) })
	a.t.Cleanup(a.shutdown)
	return a
}

func (a *agent) shutdown() {
	// shutdown_timeout is the bound: a context that ended long ago changes nothing.
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	a.each(func(c component.Component) { require.NoError(a.t, c.Shutdown(gone)) })
}

// hears waits until a line with part was logged.
func (a *agent) hears(part string) {
	for !strings.Contains(<-a.said, part) {
	}
}

// core returns what the signals share.
func (a *agent) core() *core { return a.logs.(*signalExporter).core }

// scrape is one collection: "name{key=value,...}" without the exporter's id.
type scrape map[string]int64

func (a *agent) scrape() scrape {
	var rm metricdata.ResourceMetrics
	require.NoError(a.t, a.tel.Reader.Collect(context.Background(), &rm))
	s := scrape{}
	for _, sm := range rm.ScopeMetrics {
		for _, m := range sm.Metrics {
			name := strings.TrimPrefix(m.Name, "otelcol_")
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				s.add(a.t, name, data.DataPoints)
			case metricdata.Gauge[int64]:
				s.add(a.t, name, data.DataPoints)
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					s[name] += int64(p.Count) //nolint:gosec // a handful
				}
			}
		}
	}
	return s
}

func (s scrape) add(t *testing.T, name string, points []metricdata.DataPoint[int64]) {
	for _, p := range points {
		var labels []string
		for _, kv := range p.Attributes.ToSlice() {
			if kv.Key == "exporter" {
				require.Equal(t, "lifeline/7", kv.Value.AsString())
				continue
			}
			labels = append(labels, fmt.Sprintf("%s=%s", kv.Key, kv.Value.AsString()))
		}
		slices.Sort(labels)
		if strings.HasPrefix(name, "lifeline_") && len(labels) > 0 {
			name := name + "{" + strings.Join(labels, ",") + "}"
			require.NotContains(t, s, name)
			s[name] = p.Value
			continue
		}
		s[name] += p.Value
	}
}

// conserves checks G1 for a signal and returns what was accepted.
func (s scrape) conserves(t require.TestingT, signal string) int64 {
	var sum int64
	for name, value := range s {
		metric, labels, _ := strings.Cut(name, "{")
		if !strings.Contains(labels, "signal="+signal) {
			continue
		}
		switch metric {
		case "lifeline_delivered_items", "lifeline_flared_items", "lifeline_rejected_items", "lifeline_lost_items", "lifeline_held_items":
			sum += value
		}
	}
	accepted := s["lifeline_accepted_items{signal="+signal+"}"]
	require.Equal(t, accepted, sum, "%s: %v", signal, s)
	return accepted
}

// host remembers the status it is told, as the Collector's does.
type host struct {
	events chan *componentstatus.Event
	page   statustest.Page
}

func (h *host) GetExtensions() map[component.ID]component.Component { return h.page.GetExtensions() }

// Report implements componentstatus.Reporter. It never blocks, as the
// Collector's does not: tests that read no events may miss some.
func (h *host) Report(event *componentstatus.Event) {
	select {
	case h.events <- event:
	default:
	}
}

// next returns the next status of the first signal: all are told the same.
func (h *host) next() *componentstatus.Event {
	event := <-h.events
	<-h.events
	<-h.events
	return event
}

// gateway is a server whose answer can be changed while it runs.
type gateway struct {
	*httptest.Server
	seen chan http.Header // one per request, its body read

	mu     sync.Mutex
	answer http.HandlerFunc
}

func newGateway(t *testing.T, answer http.HandlerFunc) *gateway {
	g := &gateway{seen: make(chan http.Header, 10000), answer: answer}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		g.mu.Lock()
		answer := g.answer
		g.mu.Unlock()
		answer(w, r)
		g.seen <- r.Header
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *gateway) say(answer http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func ack(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", protobuf) }

// parked answers like whoever owns the name now.
func parked(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<html>this domain is for sale</html>")
}

// silent reads a request and never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func unavailable(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
}

// published returns a file of the published keys.
func published(t *testing.T, name string) []byte {
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "keys", name)) //nolint:gosec // names are constants of tests
	require.NoError(t, err)
	return text
}

// put writes a file of a test's own directory at one stroke: who reads it finds
// the old one or the new one.
func put(t *testing.T, path string, text []byte) {
	require.NoError(t, os.WriteFile(path+".new", text, 0o600)) //nolint:gosec // a temporary directory
	require.NoError(t, os.Rename(path+".new", path))
}

// keyDir copies the published keys, so that a test may break them.
func keyDir(t *testing.T) string {
	dir := t.TempDir()
	for from, to := range map[string]string{"recipients_classic.txt": "recipients.txt", "agent_ed25519": "agent_ed25519"} {
		put(t, filepath.Join(dir, to), published(t, from))
	}
	return dir
}

// withFlare adds a fallback of the store and the keys in dir.
func withFlare(s *store, dir string) func(*Config) {
	return func(cfg *Config) {
		cfg.Flare = configoptional.Some(FlareConfig{
			Buckets: []s3bucket.Config{{
				Bucket: "acme-flares", Prefix: "f/", Endpoint: s.URL, PathStyle: true, AccessKeyID: "key", SecretAccessKey: "secret",
			}},
			RecipientsFile: filepath.Join(dir, "recipients.txt"),
			SigningKeyFile: filepath.Join(dir, "agent_ed25519"),
			Budget:         bytesize.GiB,
		})
	}
}
