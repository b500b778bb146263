package lifelinereceiver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// allocated returns how many bytes f allocates, garbage included.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc) //nolint:gosec // it grows, and not by exabytes
}

// field encodes a field that has a length.
func field(num int, b []byte) []byte {
	out := binary.AppendUvarint(nil, uint64(num)<<3|2) //nolint:gosec // a small number
	out = binary.AppendUvarint(out, uint64(len(b)))
	return append(out, b...)
}

// logsOf returns n empty log records under a resource with an attribute of size bytes.
func logsOf(n, size int) []byte {
	attribute := field(1, append(field(1, []byte("k")), field(2, field(1, make([]byte, size)))...))
	return field(1, append(field(1, attribute), field(2, bytes.Repeat([]byte{0x12, 0}, n))...))
}

// room is an admission of total bytes with free of them left.
func room(t *testing.T, total, free int64) *reservation {
	a := newAdmission(AdmissionConfig{MaxInflight: 1, MaxWait: time.Millisecond})
	a.total, a.free = total, total
	_, err := a.acquire(t.Context(), total-free)
	require.NoError(t, err)
	return &reservation{admission: a}
}

// fakeStream delivers one gRPC message and looks at what is reserved for it.
type fakeStream struct {
	header, body []byte
	read         func()
}

func (s *fakeStream) RecvCompress() string { return "zstd" }

func (s *fakeStream) ReadMessageHeader(header []byte) error {
	if s.header == nil {
		return io.EOF
	}
	copy(header, s.header)
	s.header = nil
	return nil
}

func (s *fakeStream) Read(int) (mem.BufferSlice, error) {
	s.read()
	return mem.BufferSlice{mem.SliceBuffer(s.body)}, nil
}

func TestGRPCReservesBeforeItReads(t *testing.T) {
	g := startPassthrough(t, &kafka{})
	body := make([]byte, 9<<20)
	header := prefixed(0, body)[:5]
	reads := 0
	r := &request{header: func(string) []string { return []string{"1"} }, arrived: time.Now(), limit: 20 << 20}
	m := &message{gateway: g, request: r, stream: &fakeStream{header: header, body: body, read: func() {
		reads++
		require.Equal(t, g.admission.total-copies*9<<20, g.admission.room(), "what lifeline-size says does not matter")
	}}}
	r.begin, r.read = m.begin, m.read
	work := g.newTask(r, client.Info{})
	sent, err := work.take(t.Context())
	require.NoError(t, err)
	require.Len(t, sent, len(body))
	require.Equal(t, 1, reads)
	work.held.release()
}

// steps is a body that comes in pieces and checks that they are reserved.
type steps struct {
	t        *testing.T
	held     *reservation
	n, limit int64
}

func (s *steps) Read(p []byte) (int, error) {
	s.n += int64(len(p))
	require.LessOrEqual(s.t, s.n, s.held.bytes+1)
	if s.n > s.limit {
		return 0, io.ErrUnexpectedEOF
	}
	return len(p), nil
}

func TestHTTPReservesBeforeItReads(t *testing.T) {
	held := room(t, 64<<20, 8<<20)
	_, err := readBody(&steps{t: t, held: held, limit: 15 << 20}, held, -1, 20<<20)
	require.ErrorIs(t, err, errBusy, "the gateway is full, whatever the encoding of the body")
}

func TestNoDecoderBeforeTheBodyIsWhole(t *testing.T) {
	g := startPassthrough(t, &kafka{})
	opened := false
	r := &request{
		header: func(string) []string { return nil }, limit: 20 << 20,
		open:  func([]byte) (io.Reader, func(), error) { opened = true; return nil, nothing, nil },
		begin: func() (int64, error) { return 100, nil },
		read: func(held *reservation, length int64) ([]byte, error) {
			zstdWindow := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 8, 0, 0, 0}
			return readBody(io.MultiReader(bytes.NewReader(zstdWindow), &steps{t: t, held: held}), held, length, 20<<20)
		},
	}
	_, err := g.newTask(r, client.Info{}).take(t.Context())
	require.ErrorIs(t, err, errCut)
	require.False(t, opened, "a slow client would hold a window of 8 MiB")
	require.Equal(t, g.admission.total, g.admission.room())
}

func TestSnappyLengthIsReserved(t *testing.T) {
	lie := append(binary.AppendUvarint(nil, 20<<20-1), 0, 0)
	require.Less(t, allocated(func() {
		_, err := unpack(lie, openSnappy, room(t, 64<<20, 1<<20), -1, 20<<20)
		require.ErrorIs(t, err, errBusy)
	}), int64(1<<20))
	raw := make([]byte, 1<<20)
	held := room(t, 64<<20, 4<<20)
	got, err := unpack(s2.EncodeSnappy(nil, raw), openSnappy, held, -1, 20<<20)
	require.NoError(t, err)
	require.Equal(t, raw, got)
	require.GreaterOrEqual(t, held.bytes, int64(1<<20))
}

func TestGRPCZstdWindowIsBounded(t *testing.T) {
	g := startPassthrough(t, &kafka{})
	window := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 19 << 3, 0x0b, 0, 0, 0} // of 512 MiB
	require.Less(t, allocated(func() {
		code, text := rawCall(t, g, "zstd", prefixed(1, window))
		require.Equal(t, codes.InvalidArgument, code)
		require.Contains(t, text, "does not decompress")
	}), int64(64<<20))
}

func TestJSONMemory(t *testing.T) {
	small := strings.Repeat("{},", 1<<16)
	for name, body := range map[string]string{
		"records":    `{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + small + `{}]}]}]}`,
		"attributes": `{"resourceLogs":[{"resource":{"attributes":[` + small + `{}]}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			used := allocated(func() {
				_, err := otlpcodec.FromJSON(frame.Logs, []byte(body))
				require.NoError(t, err)
			})
			require.LessOrEqual(t, used, jsonMemory([]byte(body)))
		})
	}
	g := startPassthrough(t, &kafka{})
	body := []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[` + strings.Repeat("{},", 1<<20) + `{}]}]}]}`)
	require.Less(t, allocated(func() {
		r := post(t.Context(), g, "/v1/logs", body, "Content-Type", typeJSON)
		require.Equal(t, codes.ResourceExhausted, r.status.Code(), r.status.Message())
	}), int64(len(body))*8)
}

func TestOneConversionPerProcessor(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k, func(c *Config) { c.AckTimeout, c.Admission.MaxWait = time.Second, 10*time.Millisecond })
	for range cap(g.admission.processors) {
		g.admission.processors <- struct{}{}
	}
	body := []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{}]}]}]}`)
	require.Equal(t, 503, post(t.Context(), g, "/v1/logs", body, "Content-Type", typeJSON).httpCode)
	require.Empty(t, k.all())
	<-g.admission.processors
	require.Equal(t, 200, post(t.Context(), g, "/v1/logs", body, "Content-Type", typeJSON).httpCode)
	require.Len(t, k.all(), 1)
}

func TestConversionsAreReserved(t *testing.T) {
	tight := func(c *Config) { c.Admission.MaxInflight = 40 << 20 }
	inner := logsOf(1, 6<<20)[5:]                       // behind its tag and length
	raw := field(1, append(field(1000, nil), inner...)) // times expansion is 48 MiB
	t.Run("of deprecated requests", func(t *testing.T) {
		_, err := split(frame.Logs, raw, 1<<20, room(t, 40<<20, 40<<20))
		if errors.Is(err, otlpcodec.ErrMalformed) {
			t.Fatal("the request of this test must be valid: ", err)
		}
		require.ErrorContains(t, err, "larger than max")
	})
	t.Run("to decoded telemetry", func(t *testing.T) {
		cfg := testConfig(tight, func(c *Config) { c.Passthrough.Enabled = false })
		var sink consumertest.LogsSink
		rcv, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, &sink)
		require.NoError(t, err)
		g := startReceiver(t, rcv)
		code := func(raw []byte) codes.Code {
			return post(t.Context(), g, "/v1/logs", raw, "Content-Type", typeProto).status.Code()
		}
		require.Equal(t, codes.ResourceExhausted, code(logsOf(1, 6<<20)))
		require.Equal(t, codes.OK, code(logsOf(1, 4<<20)))
		require.Equal(t, 1, sink.LogRecordCount())
	})
}

func TestPartsAreReserved(t *testing.T) {
	var g *gateway
	var used atomic.Int64
	k := &kafka{script: func(context.Context, int) error {
		used.Store(g.admission.total - g.admission.room()) // nothing is given back before the last part is done
		return nil
	}}
	g = startPassthrough(t, k)
	raw := logsOf(1<<20, 200<<10) // every part repeats the 200 KiB
	r := post(t.Context(), g, "/v1/logs", raw, "Content-Type", typeProto)
	require.Equal(t, codes.OK, r.status.Code())
	g.workers.writes.Wait()
	var sum int64
	for _, record := range k.all() {
		sum += int64(len(record.raw))
	}
	require.Greater(t, sum, int64(len(raw)))
	require.GreaterOrEqual(t, used.Load(), copies*sum)
	require.Equal(t, g.admission.total, g.admission.room())
	_, err := split(frame.Logs, raw, 900<<10, room(t, 64<<20, copies*int64(len(raw))))
	require.ErrorIs(t, err, errBusy, "there is room for the request, but not for its parts")
}

func TestSplitBomb(t *testing.T) {
	k := &kafka{}
	g := startPassthrough(t, k)
	raw := logsOf(512<<10, 899<<10)
	require.Less(t, allocated(func() {
		r := post(t.Context(), g, "/v1/logs", gzipped(t, raw), "Content-Type", typeProto,
			"Content-Encoding", "gzip", frame.HeaderBatchID, rootID)
		require.Equal(t, codes.ResourceExhausted, r.status.Code())
	}), int64(256<<20))
	require.Empty(t, k.all())
}
