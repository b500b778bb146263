package recovery

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// BenchmarkRecover brings flares of 8 MiB from a bucket in memory through a real
// HTTP connection to a server that throws them away and acks: recovery's own work
// and the loopback. B/s are of telemetry; x is the compression of the load.
func BenchmarkRecover(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer server.Close()
	client, err := otlpsend.NewHTTP(server.URL, func() (*otlpsend.HTTPConn, error) {
		return &otlpsend.HTTPConn{Client: server.Client(), Close: server.Client().CloseIdleConnections}, nil
	}, otlpsend.Options{})
	require.NoError(b, err)
	defer client.Close()
	l := newLoad(b)
	b.SetBytes(l.raw)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		store := bucket.NewFake()
		for id, data := range l.sealed {
			_, err := store.Put(b.Context(), flare.Key("f/", id), frame.Bytes(data), bucket.PutOptions{})
			require.NoError(b, err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		left := len(l.sealed)
		loop := New(Settings{
			Bucket: store, Prefix: "f/", StatePrefix: "lifeline/", Keys: func() *Keys { return l.keys },
			Gateway: Gateway{Transport: client, Timeout: time.Minute, MaxRate: 1 << 40, Senders: 8}, Flares: 8,
			PollInterval: time.Minute, MaxAge: time.Hour, QuarantineMaxBytes: 1,
			Observer: Observer{
				Flare: func(e Event) {
					if left--; left == 0 || e.State != Recovered {
						cancel()
					}
				},
				Path: func(err error) { b.Error(err) },
			},
		})
		b.StartTimer()
		loop.Run(ctx)
		require.Zero(b, left)
	}
	b.ReportMetric(float64(l.raw)/float64(l.stored), "x")
}

// sealedLoad is telemetry in flares, as an outage leaves it.
type sealedLoad struct {
	keys        *Keys
	sealed      map[string][]byte // by id
	raw, stored int64
}

func newLoad(b *testing.B) *sealedLoad {
	id, err := age.GenerateHybridIdentity()
	require.NoError(b, err)
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(b, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(b, err)
	signers, err := flare.ParseAllowedSigners(strings.NewReader("acme/host-17 " + string(ssh.MarshalAuthorizedKey(signer.PublicKey()))))
	require.NoError(b, err)
	l := &sealedLoad{sealed: map[string][]byte{}, keys: &Keys{
		Opener:     &flare.Opener{Identities: []age.Identity{id}, Signers: signers, MaxAge: time.Hour},
		Identities: []age.Identity{id}, Recipients: []age.Recipient{id.Recipient()}, Names: []string{"recovery"},
	}}
	sealer := flare.Sealer{Recipients: []age.Recipient{id.Recipient()}, Signer: signer}
	boot := frame.RandomHex()
	for seq := range 6 {
		var frames []frame.Frame
		for stored := int64(0); stored < 7<<20; {
			f := spans(b, boot, len(frames))
			stored += f.Stored.Len()
			l.raw, l.stored = l.raw+f.RawSize, l.stored+f.Stored.Len()
			frames = append(frames, f)
		}
		m := &flare.Manifest{Agent: "host-17", BootID: boot, Seq: uint64(seq) + 1, Reason: flare.Expired, Created: flare.TimeOf(time.Now())}
		var sealed bytes.Buffer
		require.NoError(b, sealer.Seal(&sealed, m, frames))
		l.sealed[m.FlareID] = sealed.Bytes()
	}
	return l
}

// spans returns a frame of about 256 KiB of spans with random ids.
func spans(b *testing.B, boot string, n int) frame.Frame {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "checkout")
	rs.Resource().Attributes().PutStr("host.name", "host-17")
	scope := rs.ScopeSpans().AppendEmpty()
	for i := range 1000 {
		s := scope.Spans().AppendEmpty()
		hex := frame.RandomHex()
		s.SetTraceID([16]byte([]byte(hex[:16])))
		s.SetSpanID([8]byte([]byte(hex[16:24])))
		s.SetName("GET /api/v1/orders")
		s.SetStartTimestamp(1_790_000_000_000_000_000)
		s.Attributes().PutStr("http.route", "/api/v1/orders/{id}")
		s.Attributes().PutStr("http.request.method", "GET")
		s.Attributes().PutStr("url.path", fmt.Sprintf("/api/v1/orders/%d", n*1000+i))
		s.Attributes().PutStr("request.id", hex)
		s.Attributes().PutStr("session.id", frame.RandomHex())
		s.Attributes().PutStr("cache.key", frame.RandomHex())
		s.Attributes().PutInt("http.response.status_code", 200)
		s.Attributes().PutStr("network.peer.address", fmt.Sprintf("10.2.%d.%d", i%250, n%250))
	}
	pieces, err := new(otlpcodec.Scratch).EncodeTraces(td, 1<<20)
	require.NoError(b, err)
	require.Len(b, pieces, 1)
	var stored bytes.Buffer
	require.NoError(b, otlpcodec.Compress(&stored, pieces[0].Raw))
	return frame.Frame{
		Signal: frame.Traces, BatchID: frame.NewBatchID(), RawSize: int64(len(pieces[0].Raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{Agent: "host-17", Boot: boot, Seq: uint64(n) + 1, Items: pieces[0].Items, Attempt: 1}, //nolint:gosec // small
	}
}
