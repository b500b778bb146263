package bench

import (
	"fmt"
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

var (
	methods  = []string{"GET", "GET", "GET", "POST", "PUT", "DELETE"}
	routes   = []string{"/api/v1/orders/{id}", "/api/v1/users/{id}/cart", "/api/v1/products/{id}", "/healthz", "/api/v1/search"}
	browsers = []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Go-http-client/1.1", "okhttp/4.12.0", "python-requests/2.32"}
	queries  = []string{"SELECT id, total FROM orders WHERE id = $1", "UPDATE carts SET updated_at = now() WHERE user_id = $1", "SELECT * FROM products WHERE sku = $1"}
	status   = []int64{200, 200, 200, 200, 201, 204, 404, 500}
)

func one[T any](m *maker, list []T) T { return list[m.IntN(len(list))] }

// traces adds spans of requests that a service took: three in four of a client's
// call, the fourth of a query it made.
func (m *maker) traces(td ptrace.Traces, items int) {
	rs := td.ResourceSpans().AppendEmpty()
	m.resource(rs.Resource().Attributes())
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp")
	ss.Scope().SetVersion("0.63.0")
	trace := m.traceID()
	ss.Spans().EnsureCapacity(items)
	for i := range items {
		if i%4 == 0 {
			trace = m.traceID()
		}
		sp := ss.Spans().AppendEmpty()
		sp.SetTraceID(trace)
		sp.SetSpanID(m.spanID())
		start := m.now.Add(time.Duration(m.IntN(1e9)))
		sp.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
		sp.SetEndTimestamp(pcommon.NewTimestampFromTime(start.Add(time.Duration(m.IntN(50e6)))))
		if i%4 == 3 {
			m.query(sp)
		} else {
			m.call(sp)
		}
		m.jitter(sp.Attributes())
	}
}

func (m *maker) call(sp ptrace.Span) {
	method, route := one(m, methods), one(m, routes)
	sp.SetName(method + " " + route)
	sp.SetKind(ptrace.SpanKindServer)
	a := sp.Attributes()
	a.PutStr("http.request.method", method)
	a.PutStr("http.route", route)
	a.PutStr("url.path", fmt.Sprintf("/api/v1/orders/%d", m.IntN(1e6)))
	a.PutStr("url.scheme", "https")
	a.PutStr("server.address", "shop.example.com")
	a.PutStr("client.address", fmt.Sprintf("10.%d.%d.%d", m.IntN(256), m.IntN(256), m.IntN(256)))
	a.PutInt("client.port", int64(m.IntN(65536)))
	a.PutStr("user_agent.original", one(m, browsers))
	a.PutStr("network.protocol.version", "1.1")
	a.PutInt("http.response.status_code", one(m, status))
	a.PutInt("http.response.body.size", int64(m.IntN(4096)))
	a.PutStr("app.request.id", fmt.Sprintf("%016x", m.Uint64()))
}

func (m *maker) query(sp ptrace.Span) {
	sp.SetParentSpanID(m.spanID())
	sp.SetName("SELECT shop")
	sp.SetKind(ptrace.SpanKindClient)
	a := sp.Attributes()
	a.PutStr("db.system.name", "postgresql")
	a.PutStr("db.namespace", "shop")
	a.PutStr("db.query.text", one(m, queries))
	a.PutStr("server.address", "db-primary.internal")
	a.PutInt("server.port", 5432)
	a.PutInt("db.response.returned_rows", int64(m.IntN(100)))
}

// metrics adds counters and gauges, five points each.
func (m *maker) metrics(md pmetric.Metrics, items int) {
	rm := md.ResourceMetrics().AppendEmpty()
	m.resource(rm.Resource().Attributes())
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName("otelcol/hostmetricsreceiver/cpu")
	now := pcommon.NewTimestampFromTime(m.now)
	for done := 0; done < items; {
		mt := sm.Metrics().AppendEmpty()
		mt.SetName(fmt.Sprintf("system.%s.operations", one(m, services)))
		mt.SetDescription("Operations since the start, by direction and device.")
		mt.SetUnit("{operation}")
		sum := mt.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		for range min(5, items-done) {
			done++
			dp := sum.DataPoints().AppendEmpty()
			dp.SetStartTimestamp(now - 3600e9)
			dp.SetTimestamp(now + pcommon.Timestamp(m.Uint64N(1e6)))
			dp.SetDoubleValue(math.Floor(m.Float64()*1e9) / 100)
			dp.Attributes().PutStr("device", fmt.Sprintf("nvme%dn1", m.IntN(8)))
			dp.Attributes().PutStr("direction", one(m, []string{"read", "write"}))
			m.jitter(dp.Attributes())
		}
	}
}

// logs adds access log lines.
func (m *maker) logs(ld plog.Logs, items int) {
	rl := ld.ResourceLogs().AppendEmpty()
	m.resource(rl.Resource().Attributes())
	sl := rl.ScopeLogs().AppendEmpty()
	for range items {
		r := sl.LogRecords().AppendEmpty()
		at := m.now.Add(time.Duration(m.IntN(1e9)))
		r.SetTimestamp(pcommon.NewTimestampFromTime(at))
		r.SetObservedTimestamp(pcommon.NewTimestampFromTime(at.Add(time.Duration(m.IntN(1e6)))))
		r.SetSeverityNumber(plog.SeverityNumberInfo)
		r.SetSeverityText("INFO")
		r.SetTraceID(m.traceID())
		r.SetSpanID(m.spanID())
		r.Body().SetStr(fmt.Sprintf("%s %s took %d us for user %d: %d", one(m, methods), one(m, routes), m.IntN(1e6), m.IntN(1e7), one(m, status)))
		r.Attributes().PutStr("log.file.name", "access.log")
		r.Attributes().PutStr("user_agent.original", one(m, browsers))
		r.Attributes().PutStr("client.address", fmt.Sprintf("10.%d.%d.%d", m.IntN(256), m.IntN(256), m.IntN(256)))
		m.jitter(r.Attributes())
	}
}
