package e2e

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// requests returns one export request per signal.
func requests(t *testing.T) map[frame.Signal][]byte {
	t.Helper()
	now := pcommon.NewTimestampFromTime(time.Now())
	md := pmetric.NewMetrics()
	sm := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty()
	for _, name := range []string{"queue.length", "queue.age"} {
		m := sm.Metrics().AppendEmpty()
		m.SetName(name)
		m.SetEmptyGauge()
		for i := range 10 {
			p := m.Gauge().DataPoints().AppendEmpty()
			p.SetTimestamp(now)
			p.SetIntValue(int64(i))
		}
	}
	metrics, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
	require.NoError(t, err)
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	for range 10 {
		r := sl.LogRecords().AppendEmpty()
		r.SetTimestamp(now)
		r.Body().SetStr("order taken")
	}
	logs, err := (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	require.NoError(t, err)
	return map[frame.Signal][]byte{frame.Traces: stack.Spans(0, time.Now()), frame.Metrics: metrics, frame.Logs: logs}
}

// stock adds a collector of stock parts from testdata, which listens on the
// address returned.
func stock(t *testing.T, s *stack.Stack, config string, env ...string) (*stack.Role, string) {
	t.Helper()
	addrs, err := proc.FreeAddrs(1)
	require.NoError(t, err)
	r, err := s.Role("stock-"+config, testdata(t, config), append(env, "IN_HTTP="+addrs[0])...)
	require.NoError(t, err)
	return r, addrs[0]
}

// TestStockEndToEnd sends with the stock otlp_grpc and otlp_http exporters to our
// gateway, and reads what it wrote with the stock kafka receiver of the shipped
// consumer config, up to its files.
func TestStockEndToEnd(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	out := newSink(t, nil)
	s.Consumer.Configs = append(s.Consumer.Configs, testdata(t, "announce.yaml"))
	s.Consumer.Env = append(s.Consumer.Env, "OUT_HTTP="+out.addr)
	sender, addr := stock(t, s, "sender.yaml", "OUT_GRPC="+s.Addr.GatewayGRPC, "OUT_HTTP="+s.Addr.GatewayHTTP)
	for _, r := range []*stack.Role{s.Gateway, s.Consumer, sender} {
		require.NoError(t, r.Start(ctx))
	}

	var files audit.Ledger
	for signal, request := range requests(t) {
		for range 2 { // once by gRPC, once by HTTP
			out.accept(signal, request)
			require.NoError(t, files.Accept(signal, request))
		}
		status, _, err := stack.Post(ctx, addr, signal, request)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	for signal := range requests(t) {
		out.waitAll(ctx, signal)
	}

	require.NoError(t, s.Consumer.Stop(ctx)) // its files are whole now
	for _, signal := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		readJSON(t, &files, signal, s.Path("consumer", signal.String()+".json"))
		row := files.Row(signal)
		require.True(t, row.OK(), "%+v", row)
		require.Zero(t, row.Duplicates)
	}
}

// readJSON adds what a file exporter wrote to the ledger, on Kafka's side.
func readJSON(t *testing.T, l *audit.Ledger, signal frame.Signal, path string) {
	t.Helper()
	data, err := os.ReadFile(path) //nolint:gosec // our own file
	require.NoError(t, err)
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		request, err := toProto(signal, lines.Bytes())
		require.NoError(t, err, filepath.Base(path))
		require.NoError(t, l.Kafka(signal, request, ""))
	}
	require.NoError(t, lines.Err())
}

func toProto(signal frame.Signal, json []byte) ([]byte, error) {
	switch signal {
	case frame.Traces:
		td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(json)
		if err != nil {
			return nil, err
		}
		return (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	case frame.Metrics:
		md, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(json)
		if err != nil {
			return nil, err
		}
		return (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
	default:
		ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(json)
		if err != nil {
			return nil, err
		}
		return (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	}
}

// TestExporterToStockReceiver sends with our exporter to a stock otlp receiver.
func TestExporterToStockReceiver(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	out := newSink(t, nil)
	receiver, addr := stock(t, s, "receiver.yaml", "OUT_HTTP="+out.addr)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_GATEWAY=http://"+addr, "LIFELINE_SCRAPE_INTERVAL=1h")
	require.NoError(t, receiver.Start(ctx))
	require.NoError(t, s.Agent.Start(ctx))
	for signal, request := range requests(t) {
		out.accept(signal, request)
		status, _, err := stack.Post(ctx, s.Addr.AgentHTTP, signal, request)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	for signal := range requests(t) {
		if signal != frame.Metrics { // the agent's own host metrics come as well
			out.waitAll(ctx, signal)
		}
	}
}
