package flare

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Golden flares of every released version stay readable for ever. They are
// written once, for a new version of the format, and never again:
//
//	go test ./internal/flare -run TestGolden -write-golden
//
// writes those that are missing and never touches one that is there.
var writeGolden = flag.Bool("write-golden", false, "write the golden flares that are missing")

const goldenDir = "../../testdata/flares/v1"

// golden describes one flare: its file is <id>.age, what it must open to
// <id>.json.
type golden struct {
	id, about, recipients string
	certified             bool
	reason                Reason
	frames                func(testing.TB) []frame.Frame
}

var goldens = []golden{
	{"00000000000000000000000000000001", "post-quantum, plain key", "recipients.txt", false, Expired, telemetry},
	{"00000000000000000000000000000002", "X25519, plain key", "recipients_classic.txt", false, Shutdown, telemetry},
	{"00000000000000000000000000000003", "X25519, certificate", "recipients_classic.txt", true, RingFull, telemetry},
	{"00000000000000000000000000000004", "X25519, a drill without seq", "recipients_classic.txt", false, Drill, drill},
}

// opened is what a golden flare must open to.
type opened struct {
	About     string   `json:"about"`
	Principal string   `json:"principal"`
	Manifest  Manifest `json:"manifest"`
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.about, func(t *testing.T) {
			if *writeGolden {
				g.write(t)
			}
			data, err := os.ReadFile(filepath.Join(goldenDir, g.id+".age"))
			require.NoError(t, err)
			f, err := testOpener(t).Open(storedAs(g.id), data)
			require.NoError(t, err)
			text, err := os.ReadFile(filepath.Join(goldenDir, g.id+".json"))
			require.NoError(t, err)
			var want opened
			require.NoError(t, json.Unmarshal(text, &want))
			require.Equal(t, want, opened{g.about, f.Principal, f.Manifest})
			require.Equal(t, g.reason, f.Manifest.Reason)
			for i, got := range f.Frames {
				require.Len(t, decompress(t, got.Stored), int(f.Manifest.Records[i].RawSize), "record %d", i+1)
			}
		})
	}
	entries, err := filepath.Glob(filepath.Join(goldenDir, "*.age"))
	require.NoError(t, err)
	require.Len(t, entries, len(goldens), "every golden flare is in the table")
}

func (g golden) write(t *testing.T) {
	file := filepath.Join(goldenDir, g.id+".age")
	if _, err := os.Stat(file); err == nil {
		return
	}
	s := &Sealer{Recipients: recipients(t, g.recipients), Signer: plainSigner(t)}
	if g.certified {
		s.Signer = certSigner(t)
	}
	m := testManifest()
	m.FlareID, m.Reason = g.id, g.reason
	data := sealed(t, s, m, g.frames(t))
	f, err := testOpener(t).Open(storedAs(g.id), data)
	require.NoError(t, err)
	text, err := json.MarshalIndent(opened{g.about, f.Principal, f.Manifest}, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(goldenDir, 0o750))
	require.NoError(t, os.WriteFile(file, data, 0o600))
	require.NoError(t, os.WriteFile(strings.TrimSuffix(file, ".age")+".json", append(text, '\n'), 0o600))
}

// The inner archive has no randomness: this version writes the very bytes it
// wrote when the format was released.
func TestGoldenArchive(t *testing.T) {
	m := testManifest()
	require.NoError(t, m.fill(plainFrames()))
	raw, err := encodeManifest(m)
	require.NoError(t, err)
	sig, err := sign(plainSigner(t), raw)
	require.NoError(t, err)
	var got bytes.Buffer
	require.NoError(t, writeArchive(&got, archive{raw, sig, m.Records, plainFrames()}))
	file := filepath.Join(goldenDir, "archive.tar")
	if _, err := os.Stat(file); err != nil && *writeGolden {
		require.NoError(t, os.WriteFile(file, got.Bytes(), 0o600))
	}
	want, err := os.ReadFile(file) //nolint:gosec // a constant
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got.Bytes()), "the writer changed: a new version of the format, or a mistake")
}

// telemetry is two frames of real OTLP.
func telemetry(t testing.TB) []frame.Frame {
	t.Helper()
	traces := ptrace.NewTraces()
	spans := traces.ResourceSpans().AppendEmpty()
	spans.Resource().Attributes().PutStr("service.name", "checkout")
	list := spans.ScopeSpans().AppendEmpty().Spans()
	for i := range byte(3) {
		span := list.AppendEmpty()
		span.SetName("GET /")
		span.SetTraceID([16]byte{1, i})
		span.SetSpanID([8]byte{2, i})
	}
	traceBytes, err := ptraceotlp.NewExportRequestFromTraces(traces).MarshalProto()
	require.NoError(t, err)
	return []frame.Frame{
		otlpFrame(t, frame.Traces, 1, 3, traceBytes),
		otlpFrame(t, frame.Logs, 1, 1, logBytes(t, false)),
	}
}

func drill(t testing.TB) []frame.Frame {
	t.Helper()
	f := otlpFrame(t, frame.Logs, 1, 1, logBytes(t, true))
	f.Header = frame.Header{Items: 1}
	return []frame.Frame{f}
}

func logBytes(t testing.TB, marked bool) []byte {
	t.Helper()
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	if marked {
		rl.Resource().Attributes().PutBool("lifeline.drill", true)
	}
	rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("the gateway is gone")
	b, err := plogotlp.NewExportRequestFromLogs(logs).MarshalProto()
	require.NoError(t, err)
	return b
}

func otlpFrame(t testing.TB, s frame.Signal, seq uint64, items int64, raw []byte) frame.Frame {
	t.Helper()
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	require.NoError(t, err)
	id := frame.BatchID(strings.Repeat(string(s.String()[0]&7|'0'), 32))
	return frame.Frame{
		Signal: s, BatchID: id, Header: testHeader(seq, items), RawSize: int64(len(raw)),
		Stored: frame.Bytes(w.EncodeAll(raw, nil)),
	}
}

func decompress(t testing.TB, b frame.Body) []byte {
	t.Helper()
	var stored bytes.Buffer
	_, err := b.WriteTo(&stored)
	require.NoError(t, err)
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(t, err)
	defer r.Close()
	raw, err := r.DecodeAll(stored.Bytes(), nil)
	require.NoError(t, err)
	return raw
}
