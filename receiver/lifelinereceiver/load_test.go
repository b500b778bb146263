package lifelinereceiver

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/testdata"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// Under load every request is answered when the receiver stops, and what was
// acked was written. Only who came too late finds nobody there.
func TestShutdownUnderLoad(t *testing.T) {
	k := &kafka{}
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), testConfig(), k)
	require.NoError(t, err)
	g := startReceiver(t, r)
	conn := dial(t, g)
	var mu sync.Mutex
	acked := map[string]bool{}
	var wg sync.WaitGroup
	warm := make(chan struct{}, 1024)
	for client := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				name := fmt.Sprintf("span %d-%d", client, n)
				raw := field(1, field(2, field(2, field(5, []byte(name)))))
				var code codes.Code
				if client%2 == 0 {
					rep := post(t.Context(), g, "/v1/traces", raw, "Content-Type", typeProto)
					code = rep.status.Code()
					if rep.httpCode == 0 {
						return // nobody listens any more
					}
				} else {
					var answer rawMessage
					err := conn.Invoke(t.Context(), "/"+grpcServices[frame.Traces]+"/Export", &rawMessage{bytes: raw}, &answer,
						grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
					code = status.Code(err)
				}
				if code != codes.OK {
					if code != codes.Unavailable {
						t.Errorf("%s was answered with %s", name, code)
					}
					return
				}
				mu.Lock()
				acked[name] = true
				mu.Unlock()
				select {
				case warm <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 200 {
		<-warm
	}
	require.NoError(t, r.Shutdown(context.Background()))
	wg.Wait()
	var written bytes.Buffer
	for _, w := range k.all() {
		written.Write(w.raw)
		written.WriteByte('\n')
	}
	text := written.String()
	require.GreaterOrEqual(t, len(acked), 200)
	for name := range acked {
		require.Contains(t, text, name, "acked and not written")
	}
}

func TestProfilesTravelAsBytes(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k)
	request := pprofileotlp.NewExportRequestFromProfiles(testdata.GenerateProfiles(3))
	raw, err := request.MarshalProto()
	require.NoError(t, err)

	r := post(t.Context(), g, frame.Profiles.HTTPPath(), raw, "Content-Type", typeProto)
	require.Equal(t, codes.OK, r.status.Code(), r.status.Message())
	conn, err := grpc.NewClient(g.grpc.addr.String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	_, err = pprofileotlp.NewGRPCClient(conn).Export(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, k.all(), 2)
	for _, w := range k.all() {
		require.Equal(t, "otlp_profiles", w.topic)
		require.Equal(t, raw, w.raw)
	}
	damaged := post(t.Context(), g, frame.Profiles.HTTPPath(), raw[:len(raw)-1], "Content-Type", typeProto)
	require.Equal(t, codes.InvalidArgument, damaged.status.Code())
}

// What the pipeline got stays as it was when the buffer of the body is used for
// the next request, in both modes.
func TestThePipelineOwnsWhatItGot(t *testing.T) {
	raw := encoded(t, frame.Traces, 50)
	body := append([]byte(nil), raw...)
	td, err := otlpcodec.DecodeTraces(body)
	require.NoError(t, err)
	ld := record(body)
	clear(body)
	pieces, err := new(otlpcodec.Scratch).EncodeTraces(td, 0)
	require.NoError(t, err)
	require.Equal(t, raw, pieces[0].Raw)
	require.Equal(t, raw, ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Body().Bytes().AsRaw())

	k := &kafka{}
	g := startPassthrough(t, k)
	var want [][]byte
	for n := range 40 {
		raw := encoded(t, frame.Traces, n%7*30+1)
		want = append(want, raw)
		for _, headers := range [][]string{nil, {"Content-Encoding", "zstd"}, {"Content-Encoding", "gzip"}} {
			sent := raw
			switch {
			case headers == nil:
			case headers[1] == "zstd":
				sent = zstdBytes(t, raw)
			default:
				sent = gzipped(t, raw)
			}
			require.Equal(t, codes.OK, post(t.Context(), g, "/v1/traces", sent, append([]string{"Content-Type", typeProto}, headers...)...).status.Code())
		}
	}
	for i, w := range k.all() {
		require.Equal(t, want[i/3], w.raw)
	}
}

func TestBuffers(t *testing.T) {
	for _, size := range []int64{0, 1, 4095, 4096, 4097, 1 << 20, 1<<20 + 1, 20 << 20} {
		b := newBuffer(size)
		require.Empty(t, b)
		require.GreaterOrEqual(t, int64(cap(b)), size)
		require.LessOrEqual(t, int64(cap(b)), max(4096, 2*size))
		freeBuffer(b)
	}
	freeBuffer(nil)
	freeBuffer(make([]byte, 5000)) // not one of ours: left alone
	require.Equal(t, 8192, cap(newBuffer(5000)))
}

func TestSpareBuffers(t *testing.T) {
	var s spares
	first := s.get(19 << 20)
	s.put(first)
	require.NotSame(t, &first[:1][0], &s.get(2 << 20)[:1][0], "too large for that")
	require.Same(t, &first[:1][0], &s.get(19<<20 - 100)[:1][0], "used again")
	require.Zero(t, s.bytes)

	for range 5 {
		s.put(make([]byte, 0, 20<<20))
	}
	require.EqualValues(t, 60<<20, s.bytes, "no more than maxSpareBytes are kept")
	s.put(make([]byte, 0, maxSpareBytes+1))
	require.Len(t, s.free, 3)
	for range 4 {
		s.age()
	}
	require.Zero(t, s.bytes, "nor for ever")
}

func TestExpectedSizeIsNotBelievedBlindly(t *testing.T) {
	raw := encoded(t, frame.Traces, 100)
	size := expected(gzipped(t, raw))
	require.EqualValues(t, len(raw), size)
	size = expected(zstdBytes(t, raw))
	require.EqualValues(t, len(raw), size)
	lie := gzipped(t, raw)
	copy(lie[len(lie)-4:], "\xff\xff\xff\x7f")
	require.LessOrEqual(t, expected(lie), max(step, 16*int64(len(lie))))
	require.EqualValues(t, step, expected(nil))
	_, err := unpack(lie, openGzip, room(t, 64<<20, 64<<20), -1, 20<<20)
	require.ErrorIs(t, err, errEncoding)
	require.NotErrorIs(t, err, errLarge)
}
