package stack

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// SpansPerRequest is how many spans Spans makes.
const SpansPerRequest = 50

// Spans returns an export request of the spans of one second. Their ids count:
// the trace is the second, the span its place in the whole run.
func Spans(second uint64, now time.Time) []byte {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("demo")
	for i := range uint64(SpansPerRequest) {
		var traceID pcommon.TraceID
		var spanID pcommon.SpanID
		copy(traceID[:], "lifeline")
		binary.BigEndian.PutUint64(traceID[8:], second+1)
		binary.BigEndian.PutUint64(spanID[:], second*SpansPerRequest+i+1)
		sp := ss.Spans().AppendEmpty()
		sp.SetTraceID(traceID)
		sp.SetSpanID(spanID)
		sp.SetName("POST /order")
		sp.SetKind(ptrace.SpanKindServer)
		sp.SetStartTimestamp(pcommon.NewTimestampFromTime(now))
		sp.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Duration(i+1) * time.Millisecond)))
		sp.Attributes().PutInt("order.items", int64(i%7+1))
		sp.Attributes().PutStr("order.id", fmt.Sprintf("o-%06d-%02d", second, i))
	}
	var enc ptrace.ProtoMarshaler
	request, err := enc.MarshalTraces(td)
	if err != nil {
		panic("stack: internal error: " + err.Error()) // spans built above can be encoded
	}
	return request
}

// client sends to loopback only; it waits longer than any receiver does.
var client = &http.Client{Timeout: 40 * time.Second}

// Post sends an export request as protobuf to the OTLP/HTTP listener at addr and
// returns the status and the body of the answer.
func Post(ctx context.Context, addr string, s frame.Signal, request []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+s.HTTPPath(), bytes.NewReader(request))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}
