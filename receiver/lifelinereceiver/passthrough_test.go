package lifelinereceiver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

const (
	rootID  = "0123456789abcdef0123456789abcdef"
	flareID = "fedcba9876543210fedcba9876543210"
)

var header = frame.Header{Agent: "acme/host-17", Boot: rootID, Seq: 42, From: 1, To: 2, Items: 3, Attempt: 1}.String()

// metadataOf returns the client metadata of a record as a plain map.
func metadataOf(info client.Info) map[string]string {
	md := map[string]string{}
	for key := range info.Metadata.Keys() {
		md[key] = strings.Join(info.Metadata.Get(key), "|")
	}
	return md
}

func TestClientMetadata(t *testing.T) {
	raw := encoded(t, frame.Traces, 3)
	sum := sha256.Sum256(raw)
	hash := "h:" + hex.EncodeToString(sum[:16])
	forged := []string{
		frame.HeaderAgent, "victim", frame.HeaderFlareID, flareID, "lifeline-topic", "other", "topic", "other",
		frame.HeaderBatchRoot, "x", frame.HeaderPart, "1/9", "x-tenant", "acme", "authorization", "Bearer secret",
	}
	for name, c := range map[string]struct {
		change  func(*Config)
		headers []string
		want    map[string]string
	}{
		"a bare client": {nil, nil, map[string]string{frame.HeaderBatchID: hash, frame.HeaderBatchRoot: hash}},
		"an agent": {
			nil,
			[]string{frame.HeaderBatchID, rootID, frame.HeaderFrame, header, frame.HeaderSize, strconv.Itoa(len(raw))},
			map[string]string{frame.HeaderBatchID: rootID, frame.HeaderBatchRoot: rootID, frame.HeaderFrame: header},
		},
		"half of a batch": {
			nil,
			[]string{frame.HeaderBatchID, rootID + ".0.1"},
			map[string]string{frame.HeaderBatchID: rootID + ".0.1", frame.HeaderBatchRoot: rootID},
		},
		"nonsense": {
			nil,
			[]string{frame.HeaderBatchID, rootID + ".2", frame.HeaderFrame, "agent=1", frame.HeaderSize, "x"},
			map[string]string{frame.HeaderBatchID: hash, frame.HeaderBatchRoot: hash},
		},
		"forged": {nil, forged, map[string]string{frame.HeaderBatchID: hash, frame.HeaderBatchRoot: hash}},
		"recovery": {
			func(c *Config) { c.TrustFlareHeaders = true },
			[]string{frame.HeaderBatchID, rootID, frame.HeaderAgent, "acme/host-17", frame.HeaderFlareID, flareID},
			map[string]string{
				frame.HeaderBatchID: rootID, frame.HeaderBatchRoot: rootID,
				frame.HeaderAgent: "acme/host-17", frame.HeaderFlareID: flareID,
			},
		},
		"recovery, nonsense": {
			func(c *Config) { c.TrustFlareHeaders = true },
			[]string{frame.HeaderAgent, `a"b`, frame.HeaderFlareID, "../x"},
			map[string]string{frame.HeaderBatchID: hash, frame.HeaderBatchRoot: hash},
		},
		"metadata keys": {
			func(c *Config) { c.MetadataKeys = []string{"x-tenant", "x-absent"} }, forged,
			map[string]string{frame.HeaderBatchID: hash, frame.HeaderBatchRoot: hash, "x-tenant": "acme"},
		},
	} {
		for _, protocol := range protocols {
			t.Run(name+" "+protocol, func(t *testing.T) {
				k := &kafka{}
				g := startPassthrough(t, k, func(cfg *Config) {
					if c.change != nil {
						c.change(cfg)
					}
				})
				r := send(t.Context(), g, protocol, raw, c.headers...)
				require.Equal(t, codes.OK, r.status.Code(), r.status.Message())
				require.Len(t, k.all(), 1)
				require.Equal(t, c.want, metadataOf(k.all()[0].info))
				require.Equal(t, "otlp_spans", k.all()[0].topic)
				require.Equal(t, raw, k.all()[0].raw)
			})
		}
	}
}

func TestBatchIDOfJSONIsThatOfItsProtobuf(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k)
	body := []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"hi"}}]}]}]}`)
	require.Equal(t, http.StatusOK, post(t.Context(), g, "/v1/logs", body, "Content-Type", typeJSON).httpCode)
	record := k.all()[0]
	require.Equal(t, "otlp_logs", record.topic)
	sum := sha256.Sum256(record.raw)
	require.Equal(t, "h:"+hex.EncodeToString(sum[:16]), metadataOf(record.info)[frame.HeaderBatchID])
	logs := plogotlp.NewExportRequest()
	require.NoError(t, logs.UnmarshalProto(record.raw))
	require.Equal(t, 1, logs.Logs().LogRecordCount())
}

func TestAudience(t *testing.T) {
	raw := encoded(t, frame.Traces, 1)
	for _, c := range []struct {
		own, sent string
		code      codes.Code
		httpCode  int
	}{
		{"acme-prod", "", codes.OK, 200},
		{"acme-prod", "acme-prod", codes.OK, 200},
		{"acme-prod", "acme-test", codes.FailedPrecondition, 421},
		{"acme-prod", "acme-test|acme-test", codes.FailedPrecondition, 421},
		{"acme-prod", "acme-prod|acme-test", codes.FailedPrecondition, 421},
		{"", "acme-test", codes.OK, 200},
	} {
		for _, protocol := range protocols {
			k := &kafka{}
			g := startPassthrough(t, k, func(cfg *Config) { cfg.Audience = c.own })
			var headers []string
			for sent := range strings.SplitSeq(c.sent, "|") {
				headers = append(headers, frame.HeaderAudience, sent)
			}
			r := send(t.Context(), g, protocol, raw, headers...)
			require.Equal(t, c.code, r.status.Code())
			if protocol == "http" {
				require.Equal(t, c.httpCode, r.httpCode)
			}
			require.Equal(t, c.code == codes.OK, len(k.all()) == 1)
		}
	}
}

func TestLargeRequestsAreSplit(t *testing.T) {
	raw := encoded(t, frame.Traces, 300)
	for _, protocol := range protocols {
		k := &kafka{}
		g := startPassthrough(t, k, func(c *Config) { c.Passthrough.MaxMessageBytes = 4 << 10 })
		r := send(t.Context(), g, protocol, raw, frame.HeaderBatchID, rootID+".1")
		require.Equal(t, codes.OK, r.status.Code())
		records := k.all()
		require.Greater(t, len(records), 5)
		parts, spans := map[string]bool{}, 0
		for _, record := range records {
			require.LessOrEqual(t, len(record.raw), 4<<10)
			md := metadataOf(record.info)
			require.Equal(t, rootID+".1", md[frame.HeaderBatchID])
			require.Equal(t, rootID, md[frame.HeaderBatchRoot])
			parts[md[frame.HeaderPart]] = true
			data := ptraceotlp.NewExportRequest()
			require.NoError(t, data.UnmarshalProto(record.raw))
			spans += data.Traces().SpanCount()
		}
		require.Equal(t, 300, spans)
		for i := range records {
			require.Contains(t, parts, strconv.Itoa(i+1)+"/"+strconv.Itoa(len(records)))
		}
	}
}

func TestAllPartsMustBeWritten(t *testing.T) {
	k := &kafka{script: func(_ context.Context, n int) error {
		if n == 2 {
			return errDown
		}
		return nil
	}}
	g := startPassthrough(t, k, func(c *Config) { c.Passthrough.MaxMessageBytes = 4 << 10 })
	requireUnavailable(t, call(t.Context(), g, encoded(t, frame.Traces, 300)))
	require.Greater(t, len(k.all()), 2, "some parts were written, and come again")
}

// oneLarge returns three spans, the second of more than 4 KiB.
func oneLarge(t *testing.T) []byte {
	td := ptrace.NewTraces()
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for _, size := range []int{1, 5000, 1} {
		spans.AppendEmpty().SetName(strings.Repeat("x", size))
	}
	raw, err := ptraceotlp.NewExportRequestFromTraces(td).MarshalProto()
	require.NoError(t, err)
	return raw
}

func TestSingleRecordThatIsTooLarge(t *testing.T) {
	small := func(c *Config) { c.Passthrough.MaxMessageBytes = 4 << 10 }
	for _, protocol := range protocols {
		t.Run(protocol+" from an agent", func(t *testing.T) {
			k := &kafka{}
			r := send(t.Context(), startPassthrough(t, k, small), protocol, oneLarge(t), frame.HeaderBatchID, rootID)
			require.Equal(t, codes.ResourceExhausted, r.status.Code())
			require.Contains(t, r.status.Message(), "larger than max")
			require.Equal(t, "lifeline/MESSAGE_TOO_LARGE", r.errorReason())
			require.Zero(t, r.retryInfo())
			require.Empty(t, k.all(), "the agent will send its halves")
			if protocol == "http" {
				require.Equal(t, http.StatusRequestEntityTooLarge, r.httpCode)
			}
		})
		t.Run(protocol+" from others", func(t *testing.T) {
			k := &kafka{}
			r := send(t.Context(), startPassthrough(t, k, small), protocol, oneLarge(t))
			require.Equal(t, codes.OK, r.status.Code())
			answer := ptraceotlp.NewExportResponse()
			require.NoError(t, answer.UnmarshalProto(r.body))
			require.EqualValues(t, 1, answer.PartialSuccess().RejectedSpans())
			require.Contains(t, answer.PartialSuccess().ErrorMessage(), "4KiB")
			var items int64
			for _, record := range k.all() {
				n, err := otlpcodec.Count(frame.Traces, record.raw)
				require.NoError(t, err)
				items += n
			}
			require.EqualValues(t, 2, items)
		})
	}
}

func TestFullGatewayRefusesAndRecovers(t *testing.T) {
	raw := encoded(t, frame.Traces, 6000)
	require.Greater(t, len(raw), 700<<10) // two fit, three do not
	k, started, finish := slowKafka()
	g := startPassthrough(t, k, func(c *Config) {
		c.Protocols.GRPC.Get().MaxRecvMsgSizeMiB = 1
		c.Protocols.HTTP.Get().MaxRequestBodySize = 1 << 20
		c.Admission.MaxInflight, c.Admission.MaxWait = 4<<20, 50*time.Millisecond
	})
	answers := make(chan reply, 2)
	for _, protocol := range protocols {
		background(t, func() { answers <- send(t.Context(), g, protocol, raw) })
	}
	<-started
	<-started
	for _, protocol := range protocols {
		requireUnavailable(t, send(t.Context(), g, protocol, raw))
	}
	small := encoded(t, frame.Traces, 1)
	background(t, func() { send(t.Context(), g, "http", small) })
	<-started // what is small fits
	for range 3 {
		finish <- nil
	}
	require.Equal(t, codes.OK, (<-answers).status.Code())
	require.Equal(t, codes.OK, (<-answers).status.Code())
	g.workers.writes.Wait()
	background(t, func() { call(t.Context(), g, raw) })
	<-started
	finish <- nil
}

func TestDeprecatedRequestsAreModernized(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k)
	// resource_spans { field 1000 { spans { name: "old" } } }, as before OTLP 0.15
	old := []byte{0x0a, 0x0a, 0xc2, 0x3e, 0x07, 0x12, 0x05, 0x2a, 0x03, 'o', 'l', 'd'}
	require.Equal(t, codes.OK, call(t.Context(), g, old).status.Code())
	items, err := otlpcodec.Count(frame.Traces, k.all()[0].raw)
	require.NoError(t, err)
	require.EqualValues(t, 1, items)
}

func TestItemsAreCounted(t *testing.T) {
	for _, protocol := range protocols {
		tel := componenttest.NewTelemetry()
		set := receivertest.NewNopSettings(metadata.Type)
		set.TelemetrySettings = tel.NewTelemetrySettings()
		k := &kafka{script: func(_ context.Context, n int) error {
			if n == 2 {
				return errDown
			}
			return nil
		}}
		r, err := NewFactory().CreateLogs(t.Context(), set, testConfig(), k)
		require.NoError(t, err)
		g := startReceiver(t, r)
		require.Equal(t, codes.OK, send(t.Context(), g, protocol, encoded(t, frame.Traces, 7)).status.Code())
		requireUnavailable(t, send(t.Context(), g, protocol, encoded(t, frame.Traces, 5)))
		for name, want := range map[string]int64{"accepted": 7, "refused": 5} {
			m, err := tel.GetMetric("otelcol_receiver_" + name + "_spans")
			require.NoError(t, err)
			var sum int64
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				sum += p.Value
			}
			require.Equal(t, want, sum, name)
		}
		require.NoError(t, tel.Shutdown(t.Context()))
	}
}

func TestPassthroughRefusesOtherPipelines(t *testing.T) {
	set := receivertest.NewNopSettings(metadata.Type)
	_, err := NewFactory().CreateTraces(t.Context(), set, testConfig(), consumertest.NewNop())
	require.ErrorContains(t, err, "passthrough::enabled")
	_, err = NewFactory().CreateMetrics(t.Context(), set, testConfig(), consumertest.NewNop())
	require.ErrorContains(t, err, "one logs pipeline")
}
