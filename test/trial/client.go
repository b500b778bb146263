package trial

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Answer is what a client that knows nothing but the wire sees of a request.
type Answer struct {
	HTTP  int           // status code; 0 over gRPC
	GRPC  codes.Code    // 0 over HTTP
	Pause time.Duration // RetryInfo, or Retry-After; 0: none
	Body  []byte        // of a success
	Text  string        // of a refusal
}

// OK reports whether the request was acked.
func (a Answer) OK() bool { return a.GRPC == codes.OK && (a.HTTP == 0 || a.HTTP == http.StatusOK) }

// KeepsData reports whether the answer makes every OTLP client come again with
// the same data: the code that asks for it, and the time to wait.
func (a Answer) KeepsData() bool {
	asked := a.GRPC == codes.Unavailable || a.HTTP == http.StatusServiceUnavailable
	return asked && a.Pause > 0
}

// Drops reports whether the answer makes a standard client throw its data away.
func (a Answer) Drops() bool { return !a.OK() && !a.KeepsData() }

// String implements fmt.Stringer.
func (a Answer) String() string {
	if a.HTTP != 0 {
		return fmt.Sprintf("HTTP %d, Retry-After %s, %s", a.HTTP, a.Pause, a.Text)
	}
	return fmt.Sprintf("gRPC %s, RetryInfo %s, %s", a.GRPC, a.Pause, a.Text)
}

// viaGRPC sends a request of spans as it stands. headers are names and values in turn.
func viaGRPC(ctx context.Context, conn *grpc.ClientConn, request []byte, headers ...string) Answer {
	ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	var body []byte
	err := conn.Invoke(ctx, "/opentelemetry.proto.collector.trace.v1.TraceService/Export", &request, &body, grpc.ForceCodec(bare{}))
	st := status.Convert(err)
	a := Answer{GRPC: st.Code(), Body: body, Text: st.Message()}
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			a.Pause = info.GetRetryDelay().AsDuration()
		}
	}
	return a
}

// bare is a codec of bytes.
type bare struct{}

// Marshal implements encoding.Codec.
func (bare) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

// Unmarshal implements encoding.Codec.
func (bare) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

// Name implements encoding.Codec.
func (bare) Name() string { return "proto" }

// viaHTTP is viaGRPC over HTTP. A connection that breaks is an answer of code 0.
func viaHTTP(ctx context.Context, addr string, request []byte, headers ...string) Answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+frame.Traces.HTTPPath(), bytes.NewReader(request))
	if err != nil {
		return Answer{GRPC: codes.Unknown, Text: err.Error()}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return Answer{GRPC: codes.Unknown, Text: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{GRPC: codes.Unknown, Text: err.Error()}
	}
	seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
	a := Answer{HTTP: resp.StatusCode, Body: body, Pause: time.Duration(seconds) * time.Second}
	if resp.StatusCode != http.StatusOK {
		a.Text = string(body)
	}
	return a
}
