package flarerecoveryextension

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
)

// statusHost collects what a component reports about itself.
type statusHost struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
	seen   chan componentstatus.Status
}

func newHost() *statusHost {
	return &statusHost{Host: &statustest.Page{}, seen: make(chan componentstatus.Status, 100)}
}

func (h *statusHost) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
	h.seen <- e.Status()
}

// event returns the i-th event that was reported, from the last one on if i is negative.
func (h *statusHost) event(i int) *componentstatus.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i < 0 {
		i += len(h.events)
	}
	return h.events[i]
}

// fakeStore is a bucket in memory that can be closed. With session set it takes
// no call before Refresh returned nil, which it does when session returns nil.
type fakeStore struct {
	*bucket.Fake
	closed  bool
	session func() error
	ready   bool
}

func (s *fakeStore) Refresh(context.Context) error {
	if s.session == nil {
		return nil
	}
	err := s.session()
	s.ready = err == nil
	return err
}

func (s *fakeStore) List(ctx context.Context, prefix, after string) (bucket.Page, error) {
	if s.session != nil && !s.ready {
		return bucket.Page{}, &bucket.Error{Op: "list", Key: prefix, Kind: bucket.Unreachable, Err: errors.New("no credentials yet")}
	}
	return s.Fake.List(ctx, prefix, after)
}

func (s *fakeStore) Close() { s.closed = true }

// gateway is a real OTLP/HTTP server; it refuses while down.
type gateway struct {
	*httptest.Server
	mu      sync.Mutex
	headers []http.Header
	bodies  [][]byte
}

func newGateway(t *testing.T) *gateway {
	g := &gateway{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.headers, g.bodies = append(g.headers, r.Header.Clone()), append(g.bodies, body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(g.Close)
	return g
}

// rig is an extension between a fake bucket and a real gateway.
type rig struct {
	files   *keyFiles
	store   *fakeStore
	gateway *gateway
	ext     *recoveryExtension
	tel     *componenttest.Telemetry
	id      *age.X25519Identity
	signer  ssh.Signer
	gone    chan string // keys under f/ that were deleted
}

func newRig(t *testing.T) *rig {
	r := &rig{
		files: newKeyFiles(t), store: &fakeStore{Fake: bucket.NewFake()}, gateway: newGateway(t),
		tel: componenttest.NewTelemetry(), id: identity(t), signer: signer(t), gone: make(chan string, 100),
	}
	t.Cleanup(func() { require.NoError(t, r.tel.Shutdown(context.Background())) })
	cfg := r.files.cfg
	cfg.S3 = s3bucket.Config{Bucket: "acme-flares", Prefix: "f/"}
	overHTTP := otlpclient.DefaultHTTP()
	overHTTP.Endpoint = r.gateway.URL
	cfg.Audience, cfg.Forward.HTTP, cfg.Forward.TenantHeader = "acme-prod", configoptional.Some(overHTTP), "X-Scope-OrgID"
	r.store.Seen = func(c bucket.Call) {
		if c.Op == "delete" && strings.HasPrefix(c.Key, "f/") && !strings.Contains(c.Key, "probe") {
			r.gone <- c.Key
		}
	}
	set := extensiontest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = r.tel.NewTelemetrySettings()
	set.ID = component.NewID(metadata.Type)
	r.ext = newExtension(set, cfg)
	r.ext.openStore = func(s3bucket.Config) (store, error) { return r.store, nil }
	return r
}

func (r *rig) writeKeys() {
	r.files.write(r.files.cfg.AllowedSignersFile, trustLine("acme/host-17", r.signer))
	r.files.write(r.files.cfg.IdentitiesFile, r.id.String())
}

// flare stores one flare of one log record and returns its frame and key.
func (r *rig) flare(t *testing.T) (frame.Frame, string) {
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("kept")
	pieces, err := new(otlpcodec.Scratch).EncodeLogs(ld, 1<<20)
	require.NoError(t, err)
	var stored, sealed bytes.Buffer
	require.NoError(t, otlpcodec.Compress(&stored, pieces[0].Raw))
	boot := frame.RandomHex()
	f := frame.Frame{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len(pieces[0].Raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{Agent: "host-17", Boot: boot, Seq: 1, Items: 1, Attempt: 1},
	}
	m := &flare.Manifest{
		Agent: "host-17", Audience: "acme-prod", BootID: boot, Seq: 1, Reason: flare.Expired, Created: flare.TimeOf(time.Now()),
	}
	s := flare.Sealer{Recipients: []age.Recipient{r.id.Recipient()}, Signer: r.signer}
	require.NoError(t, s.Seal(&sealed, m, []frame.Frame{f}))
	key := flare.Key("f/", m.FlareID)
	_, err = r.store.Put(t.Context(), key, frame.Bytes(sealed.Bytes()), bucket.PutOptions{IfNoneMatch: true})
	require.NoError(t, err)
	return f, key
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing happened for two minutes")
		panic("unreachable")
	}
}

// From the bucket to a real server: the stored bytes arrive with their headers,
// and every figure shows it.
func TestRecovers(t *testing.T) {
	r := newRig(t)
	r.writeKeys()
	f, key := r.flare(t)
	host := newHost()
	page := host.Host.(*statustest.Page)
	require.NoError(t, r.ext.Start(t.Context(), host))
	require.Empty(t, r.store.Calls()[1:], "nothing moves before Ready")
	require.Empty(t, page.Show(t)["agents that flare"])
	require.NoError(t, r.ext.Ready())
	require.NoError(t, r.ext.Ready())
	require.Equal(t, key, receive(t, r.gone))
	require.NoError(t, r.ext.NotReady())
	require.NoError(t, r.ext.NotReady())

	require.Len(t, r.gateway.bodies, 1)
	require.Equal(t, []byte(f.Stored.(frame.Bytes)), r.gateway.bodies[0])
	h := r.gateway.headers[0]
	require.Equal(t, "zstd", h.Get("Content-Encoding"))
	require.Equal(t, string(f.BatchID), h.Get("lifeline-batch-id"))
	require.Equal(t, "acme/host-17", h.Get("lifeline-agent"))
	require.Equal(t, "acme-prod", h.Get("lifeline-audience"))
	require.Equal(t, []string{"acme"}, h.Values("X-Scope-OrgID"))

	for name, want := range map[string]int64{
		"otelcol_lifeline_recovery_pending":          0,
		"otelcol_lifeline_recovery_recovered_flares": 1,
		"otelcol_lifeline_recovery_recovered_items":  1,
		"otelcol_lifeline_recovery_drills":           0,
		"otelcol_lifeline_recovery_opened":           1,
		"otelcol_lifeline_recovery_flares":           1,
	} {
		m, err := r.tel.GetMetric(name)
		require.NoError(t, err, name)
		require.Equal(t, want, value(t, m), name)
	}
	require.Equal(t, "acme/host-17", page.Show(t)["agents that flare"][0]["agent"])
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.NoError(t, r.ext.Ready())
	require.True(t, r.store.closed)
	require.Empty(t, page.Sources())
	_, err := r.tel.GetMetric("otelcol_lifeline_recovery_pending")
	require.Error(t, err, "nothing is observed after Shutdown")
}

// Missing key files are an alarm and no crash; when they come, work begins.
func TestKeyFilesComeLater(t *testing.T) {
	r := newRig(t)
	r.files.cfg.PollInterval = 10 * time.Millisecond
	_, key := r.flare(t)
	host := newHost()
	require.NoError(t, r.ext.Start(t.Context(), host))
	require.NoError(t, r.ext.Ready())
	require.Equal(t, componentstatus.StatusRecoverableError, receive(t, host.seen))
	r.writeKeys()
	require.Equal(t, key, receive(t, r.gone))
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.Equal(t, componentstatus.StatusOK, host.event(-1).Status())
}

// Credentials that some service hands out are fetched before a pass; while they
// cannot be, the status says why.
func TestCredentialsComeLater(t *testing.T) {
	r := newRig(t)
	r.writeKeys()
	_, key := r.flare(t)
	calls := 0
	r.store.session = func() error {
		if calls++; calls == 1 {
			return errors.New("imds: no answer")
		}
		return nil
	}
	host := newHost()
	require.NoError(t, r.ext.Start(t.Context(), host))
	require.NoError(t, r.ext.Ready())
	require.Equal(t, key, receive(t, r.gone))
	for receive(t, host.seen) != componentstatus.StatusOK { // the pass that took the flare has ended
	}
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.GreaterOrEqual(t, calls, 2)
	require.ErrorContains(t, host.event(0).Err(), "imds: no answer")
}

// An unreachable gateway is no reason not to start.
func TestGatewayIsDown(t *testing.T) {
	r := newRig(t)
	r.writeKeys()
	_, key := r.flare(t)
	r.files.cfg.Forward.HTTP.Get().Endpoint = "http://" + nettest.Reserve(t)
	host := newHost()
	require.NoError(t, r.ext.Start(t.Context(), host))
	require.NoError(t, r.ext.Ready())
	require.Equal(t, componentstatus.StatusRecoverableError, receive(t, host.seen))
	require.ErrorContains(t, host.event(0).Err(), "gateway")
	require.NoError(t, r.ext.Shutdown(t.Context()))
	require.Contains(t, r.store.Keys(), key)
}

// Shutdown ends a loop that hangs in a call, and honours its context.
func TestShutdownIsBounded(t *testing.T) {
	r := newRig(t)
	r.writeKeys()
	r.store.Hang("list", -1, bucket.BeforeEffect)
	require.NoError(t, r.ext.Start(t.Context(), newHost()))
	require.NoError(t, r.ext.Ready())
	require.NoError(t, r.ext.Shutdown(t.Context()))
}

// The client of the gateway may need extensions: they start first.
func TestDependencies(t *testing.T) {
	r := newRig(t)
	require.Empty(t, r.ext.Dependencies())
	id := component.MustNewIDWithName("bearertokenauth", "gateway")
	r.files.cfg.Forward.HTTP.Get().Auth = configoptional.Some(configauth.Config{AuthenticatorID: id})
	require.Equal(t, []component.ID{id}, r.ext.Dependencies())
	require.ErrorContains(t, r.ext.Start(t.Context(), newHost()), "forward::http")
}

// value returns the sum over the data points of an integer metric.
func value(t *testing.T, m metricdata.Metrics) int64 {
	t.Helper()
	var points []metricdata.DataPoint[int64]
	switch data := m.Data.(type) {
	case metricdata.Gauge[int64]:
		points = data.DataPoints
	case metricdata.Sum[int64]:
		points = data.DataPoints
	}
	require.NotEmpty(t, points)
	var sum int64
	for _, p := range points {
		sum += p.Value
	}
	return sum
}
