package otlpsend_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

// transports are the ways to a server of the handler, which sees the request's
// message without gRPC's framing and answers with an empty ack.
var transports = map[string]func(t *testing.T, o otlpsend.Options, see func(r *http.Request, body []byte) (receipt string)) otlpsend.Client{
	"http": func(t *testing.T, o otlpsend.Options, see func(*http.Request, []byte) string) otlpsend.Client {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return
			}
			w.Header().Set("Content-Type", protobuf)
			if proof := see(r, body); proof != "" {
				w.Header().Set(receipt.Header, proof)
			}
		}))
		t.Cleanup(server.Close)
		client, err := otlpsend.NewHTTP(server.URL, fresh(http.DefaultTransport.(*http.Transport)), o)
		require.NoError(t, err)
		t.Cleanup(client.Close)
		return client
	},
	"grpc": func(t *testing.T, o otlpsend.Options, see func(*http.Request, []byte) string) otlpsend.Client {
		addr, _ := h2c(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || len(body) < 5 || int(binary.BigEndian.Uint32(body[1:5])) != len(body)-5 {
				return
			}
			// The flag of a compressed message, and what it is compressed with.
			if (body[0] == 1) != (r.Header.Get("Grpc-Encoding") != "") {
				return
			}
			r.Header.Set("Content-Encoding", r.Header.Get("Grpc-Encoding"))
			answer := ok(nil)
			if proof := see(r, body[5:]); proof != "" {
				answer.trailer[receipt.Header] = proof
			}
			answer.ServeHTTP(w, r)
		}))
		return overGRPC(t, addr, o)
	},
}

func TestWhatIsSentInEveryCompression(t *testing.T) {
	raw := bytes.Repeat([]byte("telemetry "), 60<<10)
	_, _ = rand.Read(raw[:300<<10]) // half of it does not compress
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	stored := enc.EncodeAll(raw, nil)
	require.NoError(t, enc.Close())
	unpack := map[otlpsend.Compression]func([]byte) ([]byte, error){
		"": func(b []byte) ([]byte, error) {
			if !bytes.Equal(b, stored) {
				return nil, errors.New("not the stored bytes")
			}
			return raw, nil
		},
		otlpsend.None: func(b []byte) ([]byte, error) { return b, nil },
		otlpsend.Gzip: func(b []byte) ([]byte, error) {
			r, err := gzip.NewReader(bytes.NewReader(b))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(r)
		},
	}
	for name, dial := range transports {
		for compression, decode := range unpack {
			t.Run(name+" "+string(compression), func(t *testing.T) {
				var header http.Header
				var body []byte
				client := dial(t, otlpsend.Options{Compression: compression}, func(r *http.Request, b []byte) string {
					header, body = r.Header, b
					return ""
				})
				released := 0
				answer := client.Send(t.Context(), &otlpsend.Request{
					Signal: frame.Traces, Body: &paged{data: stored}, RawSize: int64(len(raw)),
					Header:   map[string]string{frame.HeaderBatchID: "ours"},
					Meta:     map[string][]string{"x-tenant": {"a", "b"}, "lifeline-batch-id": {"forged"}},
					Released: func() { released++ },
				})
				require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
				require.Equal(t, 1, released)
				got, err := decode(body)
				require.NoError(t, err)
				require.True(t, bytes.Equal(raw, got))
				want := map[otlpsend.Compression]string{"": "zstd", otlpsend.Gzip: "gzip", otlpsend.None: ""}[compression]
				require.Equal(t, want, header.Get("Content-Encoding"))
				require.Equal(t, []string{"ours"}, header["Lifeline-Batch-Id"])
				require.Equal(t, []string{"a", "b"}, header["X-Tenant"])
			})
		}
		t.Run(name+" of a damaged frame", func(t *testing.T) {
			client := dial(t, otlpsend.Options{Compression: otlpsend.Gzip}, func(*http.Request, []byte) string { return "" })
			answer := client.Send(t.Context(), &otlpsend.Request{Body: frame.Bytes(stored[:len(stored)/2]), RawSize: int64(len(raw))})
			require.NotEqual(t, otlpsend.Delivered, answer.Verdict)
			require.Error(t, answer.Err)
		})
	}
}

func receiptKeys(t *testing.T, lines ...string) *receipt.Keys {
	k, err := receipt.Parse([]byte(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return k
}

const (
	oldKey = "old AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	newKey = "new AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
)

func TestAnAckNeedsItsReceipt(t *testing.T) {
	claim := receipt.Claim{Audience: "acme-prod", Signal: frame.Metrics, BatchID: "0123456789abcdef0123456789abcdef.1", Length: 99}
	other := claim
	other.BatchID = "0123456789abcdef0123456789abcdef.0"
	stranger := receiptKeys(t, strings.Replace(oldKey, "AAA", "BBB", 1))
	for _, test := range []struct {
		name  string
		ours  []string
		proof string
		err   string // empty: delivered
	}{
		{"right", []string{oldKey}, receiptKeys(t, oldKey).Sign(claim), ""},
		{"rotated, the gateway first", []string{oldKey, newKey}, receiptKeys(t, newKey, oldKey).Sign(claim), ""},
		{"rotated, the gateway last", []string{newKey, oldKey}, receiptKeys(t, oldKey, newKey).Sign(claim), ""},
		{"missing", []string{oldKey}, "", "has no receipt"},
		{"of another secret", []string{oldKey}, stranger.Sign(claim), "did not make it"},
		{"of another batch", []string{oldKey}, receiptKeys(t, oldKey).Sign(other), "did not make it"},
		{"of a key that is gone", []string{newKey}, receiptKeys(t, oldKey).Sign(claim), "not in the key file"},
		{"garbage", []string{oldKey}, "v1", "not of the form"},
	} {
		for name, dial := range transports {
			t.Run(name+" "+test.name, func(t *testing.T) {
				served := 0
				keys := receiptKeys(t, test.ours...)
				client := dial(t, otlpsend.Options{Receipts: func() (*receipt.Keys, error) { return keys, nil }}, func(*http.Request, []byte) string {
					served++
					return test.proof
				})
				answer := client.Send(t.Context(), claimed(claim))
				require.Equal(t, 1, served)
				if test.err == "" {
					require.Equal(t, otlpsend.Delivered, answer.Verdict, "error: %v", answer.Err)
					return
				}
				want{verdict: otlpsend.Broken, cause: otlpsend.CauseNotAnAck, err: test.err}.check(t, answer)
				require.ErrorContains(t, answer.Err, "receipt_key_file")
			})
		}
	}
}

// claimed is a request that a claim is about.
func claimed(c receipt.Claim) *otlpsend.Request {
	return &otlpsend.Request{
		Signal: c.Signal, Body: frame.Bytes("zstd frame"), RawSize: c.Length,
		Header: map[string]string{frame.HeaderBatchID: c.BatchID, frame.HeaderAudience: c.Audience},
	}
}

func TestNothingIsSentWhileNoReceiptCouldBeChecked(t *testing.T) {
	for name, dial := range transports {
		t.Run(name, func(t *testing.T) {
			served := 0
			broken := errors.New("receipt_key_file: no key found")
			client := dial(t, otlpsend.Options{Receipts: func() (*receipt.Keys, error) { return nil, broken }}, func(*http.Request, []byte) string {
				served++
				return ""
			})
			released := 0
			r := claimed(receipt.Claim{})
			r.Released = func() { released++ }
			answer := client.Send(t.Context(), r)
			want{verdict: otlpsend.Broken, cause: otlpsend.CauseClient, err: "nothing is sent"}.check(t, answer)
			require.ErrorIs(t, answer.Err, broken)
			require.Zero(t, served)
			require.Equal(t, 1, released)
			require.True(t, client.NotAfter().Equal(time.Time{}))
		})
	}
}

// A server says how much it would have at a time; what is no number says nothing.
func TestWindowOfAnAck(t *testing.T) {
	for text, want := range map[string]int{"": 0, "1": 1, "16": 16, "-3": 0, "many": 0, "1, 2": 0, "99999999999999999999": 0} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", protobuf)
			w.Header().Set(frame.HeaderWindow, text)
		}))
		t.Cleanup(server.Close)
		viaHTTP, err := otlpsend.NewHTTP(server.URL, fresh(http.DefaultTransport.(*http.Transport)), otlpsend.Options{})
		require.NoError(t, err)
		t.Cleanup(viaHTTP.Close)
		answer := ok(nil)
		answer.trailer[frame.HeaderWindow] = text
		addr, _ := h2c(t, answer)
		for name, client := range map[string]otlpsend.Client{"http": viaHTTP, "grpc": overGRPC(t, addr, otlpsend.Options{})} {
			a := client.Send(t.Context(), &otlpsend.Request{Signal: frame.Traces, Body: frame.Bytes("x"), RawSize: 1})
			require.NoError(t, a.Err, name)
			require.Equal(t, want, a.Window, "%s %q", name, text)
		}
	}
}
