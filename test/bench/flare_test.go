package bench

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// BenchmarkFlare seals, opens and verifies 8 MiB of stored frames of 256 KiB,
// as a ring holds them, in memory. MB/s are bytes of telemetry, cpu-MB/s are bytes
// per second of this process's CPU time: of one core. Opening releases nothing
// before the last byte; decoding is what a drill's record or a split costs more.
func BenchmarkFlare(b *testing.B) {
	for _, signal := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		for _, keys := range []string{"recipients.txt", "recipients_classic.txt"} {
			load, ratio, raw := ringful(b, signal)
			id := fmt.Sprintf("signal=%s/keys=%s", signal, map[string]string{"recipients.txt": "post-quantum", "recipients_classic.txt": "classic"}[keys])
			s := sealer(b, keys)
			m := manifest()
			var object bytes.Buffer
			require.NoError(b, s.Seal(&object, m, load))
			p := opener(b)
			o := flare.Object{ID: m.FlareID, LastModified: m.Created.Time}
			perCore(b, "do=seal/"+id, raw, ratio, func() error { return s.Seal(io.Discard, manifest(), load) })
			perCore(b, "do=open/"+id, raw, ratio, func() error {
				_, err := p.Open(o, object.Bytes())
				return err
			})
			perCore(b, "do=open-and-decode/"+id, raw, ratio, func() error {
				f, err := p.Open(o, object.Bytes())
				for i := range f.Frames {
					if _, err := otlpcodec.Decompress(f.Frames[i].Stored, f.Frames[i].RawSize); err != nil {
						return err
					}
				}
				return err
			})
		}
	}
}

// BenchmarkForgery refuses a flare of 8 MiB that a stranger sealed to the right
// recipients: what an attacker with the write credential can make recovery do.
// cpu-us/op is CPU time of this process, garbage collection included.
func BenchmarkForgery(b *testing.B) {
	load, _, _ := ringful(b, frame.Traces)
	for _, keys := range []string{"recipients.txt", "recipients_classic.txt"} {
		b.Run(keys, func(b *testing.B) {
			s := sealer(b, keys)
			_, private, err := ed25519.GenerateKey(nil)
			require.NoError(b, err)
			s.Signer, err = ssh.NewSignerFromKey(private)
			require.NoError(b, err)
			m := manifest()
			var object bytes.Buffer
			require.NoError(b, s.Seal(&object, m, load))
			p, o := opener(b), flare.Object{ID: m.FlareID, LastModified: m.Created.Time}
			b.ReportAllocs()
			before := selfCPU(b)
			for b.Loop() {
				if _, err := p.Open(o, object.Bytes()); err == nil {
					b.Fatal("opened")
				}
			}
			b.ReportMetric(float64(selfCPU(b)-before)/1e3/float64(b.N), "cpu-us/op")
		})
	}
}

// perCore measures f, which handles raw bytes of telemetry.
func perCore(b *testing.B, name string, raw int64, ratio float64, f func() error) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(raw)
		b.ReportAllocs()
		before := selfCPU(b)
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		cpu := selfCPU(b) - before
		b.ReportMetric(float64(raw)*float64(b.N)/1e6/time.Duration(cpu).Seconds(), "cpu-MB/s")
		b.ReportMetric(ratio, "ratio")
	})
}

// ringful returns frames of 8 MiB as a ring stores them, how far they were
// compressed, and what they were.
func ringful(b *testing.B, signal frame.Signal) (frames []frame.Frame, ratio float64, raw int64) {
	b.Helper()
	frames, raw, err := storedFrames(signal, Load{Signal: signal, Items: 100}.Stream(1), flareStored)
	require.NoError(b, err)
	var stored int64
	for _, f := range frames {
		stored += f.Stored.Len()
	}
	return frames, float64(raw) / float64(stored), raw
}

func manifest() *flare.Manifest {
	return &flare.Manifest{
		Audience: "acme-prod", Agent: "acme/host-17", BootID: frame.RandomHex(), Seq: 1, Reason: flare.Expired,
		Created: flare.TimeOf(time.Date(2026, 9, 21, 6, 31, 0, 0, time.UTC)),
	}
}

func publishedKey(b *testing.B, name string) []byte {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "keys", name)) //nolint:gosec // a published key
	require.NoError(b, err)
	return text
}

func sealer(b *testing.B, keys string) *flare.Sealer {
	b.Helper()
	s, err := newSealer(publishedKey(b, keys), publishedKey(b, "agent_ed25519"))
	require.NoError(b, err)
	return s
}

func opener(b *testing.B) *flare.Opener {
	b.Helper()
	both := append(publishedKey(b, "recovery.key"), publishedKey(b, "recovery_classic.key")...)
	identities, err := flare.ParseIdentities(bytes.NewReader(both))
	require.NoError(b, err)
	signers, err := flare.ParseAllowedSigners(bytes.NewReader(publishedKey(b, "allowed_signers")))
	require.NoError(b, err)
	return &flare.Opener{Identities: identities, Signers: signers, Audience: "acme-prod", MaxAge: 336 * time.Hour}
}
