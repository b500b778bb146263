package lifelinereceiver

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// reply is an answer of either protocol in the same terms.
type reply struct {
	httpCode int // 0 over gRPC
	header   http.Header
	trailer  metadata.MD // over gRPC
	status   *status.Status
	body     []byte
}

// receipt returns the lifeline-receipt of the answer.
func (r reply) receipt() string {
	if r.httpCode != 0 {
		return r.header.Get(frame.HeaderReceipt)
	}
	return strings.Join(r.trailer.Get(frame.HeaderReceipt), "|")
}

func (r reply) retryInfo() time.Duration {
	for _, d := range r.status.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			return info.RetryDelay.AsDuration()
		}
	}
	return 0
}

func (r reply) errorReason() string {
	for _, d := range r.status.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.Domain + "/" + info.Reason
		}
	}
	return ""
}

// send sends raw with a bare client of the protocol: what is asserted is the wire.
func send(ctx context.Context, g *gateway, protocol string, raw []byte, headers ...string) reply {
	if protocol == "grpc" {
		return call(ctx, g, raw, headers...)
	}
	return post(ctx, g, "/v1/traces", raw, append([]string{"Content-Type", typeProto}, headers...)...)
}

func call(ctx context.Context, g *gateway, raw []byte, headers ...string) reply {
	conn, err := grpc.NewClient(g.grpc.addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	defer conn.Close()
	ctx = metadata.AppendToOutgoingContext(ctx, headers...)
	var answer rawMessage
	var trailer metadata.MD
	err = conn.Invoke(ctx, "/"+grpcServices[frame.Traces]+"/Export", &rawMessage{bytes: raw}, &answer,
		grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}), grpc.Trailer(&trailer))
	return reply{status: status.Convert(err), body: answer.bytes, trailer: trailer}
}

func post(ctx context.Context, g *gateway, path string, body []byte, headers ...string) reply {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.http.addr.String()+path, bytes.NewReader(body))
	must(err)
	for pair := range slices.Chunk(headers, 2) {
		if strings.HasPrefix(pair[0], "lifeline-") {
			req.Header.Add(pair[0], pair[1])
			continue
		}
		req.Header.Set(pair[0], pair[1])
	}
	// A server may refuse a body unread; a client that waits for its word always sees the answer.
	req.Header.Set("Expect", "100-continue")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	resp, err := client.Do(req)
	if err != nil {
		return reply{status: status.FromContextError(ctx.Err())}
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	must(err)
	r := reply{httpCode: resp.StatusCode, header: resp.Header, body: answer, status: status.New(codes.OK, "")}
	if resp.StatusCode != http.StatusOK {
		var st spb.Status
		switch resp.Header.Get("Content-Type") {
		case typeProto:
			must(proto.Unmarshal(answer, &st))
		case typeJSON:
			must(protojson.Unmarshal(answer, &st))
		default:
			st.Code, st.Message = int32(codes.Unknown), string(answer)
		}
		r.status = status.FromProto(&st)
	}
	return r
}

// must ends the test binary on an error of the test itself: helpers run in
// goroutines, where a test cannot be failed.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// requireUnavailable asserts the answer that makes every client come again.
func requireUnavailable(t *testing.T, r reply) {
	t.Helper()
	require.Equal(t, codes.Unavailable, r.status.Code(), r.status.Message())
	require.GreaterOrEqual(t, r.retryInfo(), minRetry)
	require.LessOrEqual(t, r.retryInfo(), maxRetry)
	if r.httpCode != 0 {
		require.Equal(t, http.StatusServiceUnavailable, r.httpCode)
		require.Contains(t, []string{"1", "2", "3"}, r.header.Get("Retry-After"))
	}
}

// background runs f beside the test, which does not end before f does: its own
// context has ended by then.
func background(t *testing.T, f func()) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(f)
	t.Cleanup(wg.Wait)
}
