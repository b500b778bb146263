package lifelineexporter

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	kzstd "github.com/klauspost/compress/zstd"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/topic"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver"
)

// door is a lifeline receiver in front of next.
type door struct {
	grpc, http string // addresses
	log        *observer.ObservedLogs
	stop       func()
}

func openDoor(t *testing.T, next consumer.Logs, changes ...func(*lifelinereceiver.Config)) *door {
	core, log := observer.New(zap.InfoLevel)
	factory := lifelinereceiver.NewFactory()
	cfg := factory.CreateDefaultConfig().(*lifelinereceiver.Config)
	cfg.Protocols.GRPC.GetOrInsertDefault().NetAddr.Endpoint = "127.0.0.1:0"
	cfg.Protocols.HTTP.GetOrInsertDefault().NetAddr.Endpoint = "127.0.0.1:0"
	for _, change := range changes {
		change(cfg)
	}
	require.NoError(t, cfg.Validate())
	set := receivertest.NewNopSettings(factory.Type())
	set.Logger = zap.New(core)
	r, err := factory.CreateLogs(t.Context(), set, cfg, next)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	d := &door{log: log, stop: sync.OnceFunc(func() { require.NoError(t, r.Shutdown(context.Background())) })}
	t.Cleanup(d.stop)
	for _, line := range log.FilterMessage("Listening").All() {
		at := line.ContextMap()["endpoint"].(string)
		if line.ContextMap()["protocol"] == "grpc" {
			d.grpc = at
		} else {
			d.http = at
		}
	}
	return d
}

func lent(cfg *lifelinereceiver.Config) { cfg.Passthrough.To = "lifeline" }

// topics is Kafka behind a gateway.
type topics struct {
	mu      sync.Mutex
	records map[string][][]byte
}

func (*topics) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (k *topics) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.records == nil {
		k.records = map[string][][]byte{}
	}
	name, _ := topic.FromContext(ctx)
	raw := ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().Bytes().AsRaw()
	k.records[name] = append(k.records[name], raw)
	return nil
}

// asIs is a codec of messages that are encoded already.
type asIs struct{}

func (asIs) Name() string { return "proto" }

func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var exportMethods = [...]string{
	"/opentelemetry.proto.collector.trace.v1.TraceService/Export",
	"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
	"/opentelemetry.proto.collector.logs.v1.LogsService/Export",
	"/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
}

func (d *door) call(t *testing.T, s frame.Signal, compression string, raw []byte) error {
	var options []grpc.CallOption
	if compression != "" {
		options = append(options, grpc.UseCompressor(compression))
	}
	return d.callAs(t.Context(), t, s, raw, options...)
}

// callAs is a call with the metadata of ctx.
func (d *door) callAs(ctx context.Context, t *testing.T, s frame.Signal, raw []byte, options ...grpc.CallOption) error {
	conn, err := grpc.NewClient(d.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	var answer []byte
	return conn.Invoke(ctx, exportMethods[s], raw, &answer, append(options, grpc.ForceCodecV2(asIs{}))...)
}

func (d *door) post(t *testing.T, s frame.Signal, mediaType, compression string, body []byte) *http.Response {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.http+s.HTTPPath(), bytes.NewReader(packed(t, compression, body)))
	require.NoError(t, err)
	r.Header.Set("Content-Type", mediaType)
	if compression != "" {
		r.Header.Set("Content-Encoding", compression)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	resp.Body = io.NopCloser(bytes.NewReader(text))
	return resp
}

func packed(t *testing.T, compression string, body []byte) []byte {
	var out bytes.Buffer
	var w io.WriteCloser
	switch compression {
	case "":
		return body
	case "gzip":
		w = gzip.NewWriter(&out)
	default:
		z, err := kzstd.NewWriter(&out)
		require.NoError(t, err)
		w = z
	}
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

// requests of n items of every signal, as protobuf and as JSON.
func requestsOf(t *testing.T, n int) (raw, text [3][]byte) {
	for s, r := range [...]interface {
		MarshalProto() ([]byte, error)
		MarshalJSON() ([]byte, error)
	}{
		ptraceotlp.NewExportRequestFromTraces(testdata.GenerateTraces(n)),
		pmetricotlp.NewExportRequestFromMetrics(testdata.GenerateMetrics(n)),
		plogotlp.NewExportRequestFromLogs(testdata.GenerateLogs(n)),
	} {
		var err error
		raw[s], err = r.MarshalProto()
		require.NoError(t, err)
		text[s], err = r.MarshalJSON()
		require.NoError(t, err)
	}
	return raw, text
}

var topicOf = [...]string{"otlp_spans", "otlp_metrics", "otlp_logs"}

// From a program to Kafka no byte of a request changes: over either protocol into
// the agent, with every compression, and over either to the gateway.
func TestBytesComeOutAsTheyWentIn(t *testing.T) {
	raw, text := requestsOf(t, 7)
	for _, transport := range []string{"http", "grpc"} {
		t.Run(transport, func(t *testing.T) {
			k := &topics{}
			gateway := openDoor(t, k)
			a := newAgent(t, "http://"+gateway.http, func(cfg *Config) {
				if transport == "grpc" {
					cfg.HTTP = configoptional.None[confighttp.ClientConfig]()
					client := *createDefaultConfig().(*Config).GRPC.GetOrInsertDefault()
					client.Endpoint, client.TLS.Insecure = gateway.grpc, true
					cfg.GRPC = configoptional.Some(client)
				}
			}).start()
			host := openDoor(t, a.logs, lent)
			const ways = 7
			for s := range frame.Profiles {
				for _, compression := range []string{"", "gzip", "zstd"} {
					require.NoError(t, host.call(t, s, compression, raw[s]))
					require.Equal(t, http.StatusOK, host.post(t, s, protobuf, compression, raw[s]).StatusCode)
				}
				require.Equal(t, http.StatusOK, host.post(t, s, "application/json", "", text[s]).StatusCode)
			}
			host.stop()
			a.shutdown()
			sc := a.scrape()
			for s := range frame.Profiles {
				want := [][]byte{}
				for range ways {
					want = append(want, raw[s])
				}
				require.Equal(t, want, k.records[topicOf[s]], "%s", s)
				items, err := otlpcodec.Count(s, raw[s])
				require.NoError(t, err)
				require.Equal(t, ways*items, sc.conserves(t, s.String()))
				require.Equal(t, ways*items, sc[fmt.Sprintf("lifeline_delivered_items{signal=%s}", s)])
			}
			require.EqualValues(t, 7*ways, sc["exporter_sent_spans"], "the Collector's own counter knows them")
			require.Len(t, k.records, 3)
		})
	}
}

// A request that is too large for a frame is cut, and nothing of it is missing.
func TestALargeRequestIsCutAsBytes(t *testing.T) {
	k := &topics{}
	a := newAgent(t, "http://"+openDoor(t, k).http, func(cfg *Config) { cfg.Frame.MaxSize = 4 * bytesize.KiB }).start()
	host := openDoor(t, a.logs, lent)
	raw, _ := requestsOf(t, 1000)
	for s := range frame.Profiles {
		require.NoError(t, host.call(t, s, "", raw[s]))
	}
	host.stop()
	a.shutdown()
	for s := range frame.Profiles {
		require.Greater(t, len(k.records[topicOf[s]]), 10)
		var items int64
		for _, part := range k.records[topicOf[s]] {
			require.LessOrEqual(t, len(part), 4<<10)
			n, err := otlpcodec.Count(s, part)
			require.NoError(t, err)
			items += n
		}
		want, err := otlpcodec.Count(s, raw[s])
		require.NoError(t, err)
		require.Equal(t, want, items)
		require.Equal(t, want, a.scrape().conserves(t, s.String()))
	}
}

// Profiles share one dictionary per request, and the exporter does not take them.
func TestProfilesAreNotTaken(t *testing.T) {
	a := newAgent(t, "http://127.0.0.1:9").start()
	host := openDoor(t, a.logs, lent)
	raw, err := pprofileotlp.NewExportRequestFromProfiles(testdata.GenerateProfiles(1)).MarshalProto()
	require.NoError(t, err)
	require.Equal(t, codes.Unimplemented, status.Code(host.call(t, frame.Profiles, "", raw)))
	require.Equal(t, http.StatusNotFound, host.post(t, frame.Profiles, protobuf, "", raw).StatusCode)
}
