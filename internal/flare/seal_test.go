package flare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestSealFillsTheManifest(t *testing.T) {
	m := testManifest()
	m.FlareID = ""
	sealed(t, testSealer(t), m, testFrames())
	require.True(t, frame.IsHex32(m.FlareID))
	require.Equal(t, Type, m.Type)
	require.Equal(t, TimeOf(testTime.Add(-2*time.Second)), m.Oldest)
	require.Equal(t, TimeOf(testTime.Add(-time.Second)), m.Newest)
	require.Equal(t, map[string]Total{
		"traces": {Frames: 2, Items: 9, RawBytes: 1060}, "logs": {1, 4, 512}, "metrics": {1, 5, 70_000},
	}, m.Totals)
	require.Equal(t, []string{
		"000001.traces.binpb.zst", "000002.logs.binpb.zst", "000003.metrics.binpb.zst", "000004.traces.binpb.zst",
	}, []string{m.Records[0].Name, m.Records[1].Name, m.Records[2].Name, m.Records[3].Name})
}

// What only makes a flare nicer may not cost the flare.
func TestSealCutsWhatIsTooLong(t *testing.T) {
	m := testManifest()
	m.Report.Sample["dns"] = strings.Repeat("x", maxReport)
	m.Report.Version = "caf\u00e9"
	m.Unresolved = nil
	for i := range uint64(maxUnresolved + 10) {
		m.Unresolved = append(m.Unresolved, i+1)
	}
	frames := testFrames()
	frames[0].Meta = map[string][]string{
		"x-scope-orgid": {"acme"}, "x-odd": {"a\nb"}, "X-Upper": {"a"}, "lifeline-agent": {"initech/web-1"}, "authorization": {"Bearer"},
	}
	frames[1].Meta = map[string][]string{"x-latin": {"caf\xe9"}}
	f, err := testOpener(t).Open(storedAs(testID), sealed(t, testSealer(t), m, frames))
	require.NoError(t, err)
	require.Nil(t, f.Manifest.Report.Sample)
	require.Empty(t, f.Manifest.Report.Version)
	require.Equal(t, map[string]int64{"refused": 40}, f.Manifest.Report.Causes)
	require.Len(t, f.Manifest.Unresolved, maxUnresolved)
	require.Equal(t, uint64(maxUnresolved+10), f.Manifest.Unresolved[maxUnresolved-1], "the latest stay")
	require.Equal(t, map[string][]string{"x-scope-orgid": {"acme"}}, f.Frames[0].Meta)
	require.Empty(t, f.Frames[1].Meta)
	require.Len(t, frames[0].Meta, 5, "the frame's own map is never modified")
}

// Headers that no gateway takes would keep their telemetry in the bucket. What
// is large stays behind: the tenant's name is not.
func TestSealKeepsMetaWithinAHeader(t *testing.T) {
	field := func(size int) []string { return []string{strings.Repeat("v", size-len("k")-metaField)} }
	kept := map[string][]string{"a": field(4096), "b": field(4096), "c": field(4096), "d": field(4056), "x": field(40)}
	frames := testFrames()[:1]
	frames[0].Meta = maps.Clone(kept)
	frames[0].Meta["large"] = field(4093)
	f, err := testOpener(t).Open(storedAs(testID), sealed(t, testSealer(t), testManifest(), frames))
	require.NoError(t, err)
	require.Equal(t, kept, f.Frames[0].Meta, "16 KiB, to the byte")
}

// A clock that jumps back between two calls must not make the flare malformed.
func TestSealWithAClockSetBack(t *testing.T) {
	frames := testFrames()[:1]
	frames[0].Header.To = frames[0].Header.From - 5000
	_, err := testOpener(t).Open(storedAs(testID), sealed(t, testSealer(t), testManifest(), frames))
	require.NoError(t, err)
}

// A drill's frame never had a place in a sequence.
func TestOnlyADrillMayHaveAFrameWithoutSeq(t *testing.T) {
	frames := testFrames()[:1]
	frames[0].Header = frame.Header{Items: 1}
	m := testManifest()
	m.Reason = Drill
	f, err := testOpener(t).Open(storedAs(testID), sealed(t, testSealer(t), m, frames))
	require.NoError(t, err)
	require.Equal(t, frame.Header{Items: 1}, f.Frames[0].Header)

	require.ErrorContains(t, testSealer(t).Seal(io.Discard, testManifest(), frames), "lifeline-frame")
}

// lyingBody writes fewer bytes the second time.
type lyingBody struct{ writes *int }

func (lyingBody) Len() int64 { return 10 }

func (b lyingBody) WriteTo(w io.Writer) (int64, error) {
	*b.writes++
	n, err := w.Write(make([]byte, 11-*b.writes))
	return int64(n), err
}

func TestSealFails(t *testing.T) {
	rsa, ecdsa := otherSigners(t)
	writes := 0
	for _, c := range []struct {
		name string
		edit func(*Sealer, *Manifest, *[]frame.Frame)
		want string
	}{
		{"no recipients", func(s *Sealer, _ *Manifest, _ *[]frame.Frame) { s.Recipients = nil }, "recipients"},
		{"no signer", func(s *Sealer, _ *Manifest, _ *[]frame.Frame) { s.Signer = nil }, "signing key"},
		{"ECDSA", func(s *Sealer, _ *Manifest, _ *[]frame.Frame) { s.Signer = ecdsa }, "only ssh-ed25519"},
		{"RSA", func(s *Sealer, _ *Manifest, _ *[]frame.Frame) { s.Signer = rsa }, "only ssh-ed25519"},
		{"no frames", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { *f = nil }, "0 records"},
		{"no boot", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.BootID = "" }, "boot_id"},
		{"no seq", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.Seq = 0 }, "seq"},
		{"no agent", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.Agent = "" }, "agent"},
		{"no reason", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.Reason = "bored" }, "reason"},
		{"no time", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.Created = Time{} }, "created"},
		{"odd id", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.FlareID = "x" }, "flare_id"},
		{"odd lost", func(_ *Sealer, m *Manifest, _ *[]frame.Frame) { m.Lost = map[string]int64{"smells": 1} }, "lost"},
		{"signal", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[0].Signal = 9 }, "unknown signal"},
		{"batch id", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[0].BatchID = "x" }, "batch_id"},
		{"batch id twice", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[3].BatchID = (*f)[0].BatchID }, "stands twice"},
		{"batch beside its half", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[3].BatchID = (*f)[0].BatchID + ".1" }, "which holds it"},
		{"raw size", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[0].RawSize = MaxRawSize + 1 }, "raw_size"},
		{"items", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[0].Header.Items = 1001 }, "impossible"},
		{"lost reason", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) {
			(*f)[0].Header.Lost, (*f)[0].Header.LostReason = 1, strings.Repeat("x", 33)
		}, "lost: reason"},
		{"body changes", func(_ *Sealer, _ *Manifest, f *[]frame.Frame) { (*f)[0].Stored = lyingBody{&writes} }, "wrote 9 bytes instead of 10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, m, frames := testSealer(t), testManifest(), testFrames()
			c.edit(s, m, &frames)
			require.ErrorContains(t, s.Seal(io.Discard, m, frames), c.want)
		})
	}
	require.Equal(t, 2, writes, "a body is written twice: hashed, then copied")
}

var errDisk = errors.New("the disk is full")

// shortWriter takes n bytes and then fails.
type shortWriter struct{ n int }

func (w *shortWriter) Write(b []byte) (int, error) {
	if w.n -= len(b); w.n < 0 {
		return 0, errDisk
	}
	return len(b), nil
}

func TestSealReportsTheWritersError(t *testing.T) {
	size := len(sealed(t, testSealer(t), testManifest(), testFrames()))
	for n := 0; n < size; n += 997 {
		require.ErrorIs(t, testSealer(t).Seal(&shortWriter{n}, testManifest(), testFrames()), errDisk, "%d bytes", n)
	}
}

// The archive has no other freedom than its content: same input, same bytes.
func TestArchiveIsDeterministic(t *testing.T) {
	var archives [2]bytes.Buffer
	for i := range archives {
		m := testManifest()
		require.NoError(t, m.fill(testFrames()))
		raw, err := encodeManifest(m)
		require.NoError(t, err)
		sig, err := sign(certSigner(t), raw)
		require.NoError(t, err)
		require.NoError(t, writeArchive(&archives[i], archive{raw, sig, m.Records, testFrames()}))
	}
	require.Equal(t, archives[0].Bytes(), archives[1].Bytes())
}

func TestSizeBoundIsAnUpperBound(t *testing.T) {
	sealers := []*Sealer{
		testSealer(t),
		{Recipients: recipients(t, "recipients.txt"), Signer: certSigner(t)},
	}
	rapid.Check(t, func(r *rapid.T) {
		s := rapid.SampledFrom(sealers).Draw(r, "sealer")
		m, frames := drawFlare(r)
		var stored, meta int64
		for _, f := range frames {
			stored += f.Stored.Len()
			for key, values := range f.Meta {
				meta += int64(len(key + strings.Join(values, "")))
			}
		}
		var n counter
		require.NoError(r, s.Seal(&n, m, frames))
		require.LessOrEqual(r, int64(n), s.SizeBound(len(frames), stored, meta))
	})
}

// drawFlare draws a flare of the longest values as often as of ordinary ones.
func drawFlare(r *rapid.T) (*Manifest, []frame.Frame) {
	var frames []frame.Frame
	m := testManifest()
	m.Agent = strings.Repeat("a", rapid.SampledFrom([]int{1, frame.MaxAgent}).Draw(r, "agent"))
	m.Audience = strings.Repeat(`"`, rapid.IntRange(0, maxAudience).Draw(r, "audience"))
	m.Report.Sample["dns"] = strings.Repeat("<", rapid.IntRange(0, 800).Draw(r, "sample"))
	for range rapid.IntRange(0, maxUnresolved).Draw(r, "unresolved") {
		m.Unresolved = append(m.Unresolved, math.MaxUint64)
	}
	const longest = 999_999_999_999_999
	m.Seq = longest
	m.Lost = map[string]int64{"traces": longest, "metrics": longest, "logs": longest, "profiles": longest}
	for i := range rapid.IntRange(1, 40).Draw(r, "frames") {
		f := frame.Frame{
			Signal:  rapid.SampledFrom([]frame.Signal{frame.Traces, frame.Profiles}).Draw(r, "signal"),
			BatchID: frame.BatchID(fmt.Sprintf("%032x", i) + strings.Repeat(".1", rapid.IntRange(0, 24).Draw(r, "halves"))),
			RawSize: MaxRawSize,
			Header: frame.Header{
				Agent: m.Agent, Boot: testBoot, Seq: longest, From: 0, To: longest, Items: MaxRawSize,
				Attempt: longest, Lost: longest, LostReason: strings.Repeat("r", frame.MaxReason), Rejected: longest,
			},
			Stored: frame.Bytes(make([]byte, rapid.SampledFrom([]int{1, 511, 512, 513, 4096, 65_535}).Draw(r, "stored"))),
		}
		if values := rapid.SliceOfN(rapid.StringMatching(`["\\ a-z]{0,9}`), 0, 5).Draw(r, "meta"); len(values) > 0 {
			f.Meta = map[string][]string{"k": values}
		}
		frames = append(frames, f)
	}
	return m, frames
}

// counter counts what is written.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

func TestSizeBoundRefusesWhatMayNotFit(t *testing.T) {
	s := testSealer(t)
	for _, c := range []struct {
		n            int
		stored, meta int64
	}{
		{MaxRecords + 1, 0, 0},
		{5000, 0, 0}, // the manifest may be too long
		{1, MaxObject, 0},
		{1, 0, maxManifest},
		{-1, 0, 0},
		{1, -1, 0},
		{1, 0, -1},
		{1, math.MaxInt64, 0},
	} {
		require.Equal(t, int64(math.MaxInt64), s.SizeBound(c.n, c.stored, c.meta), "%+v", c)
	}
	// It must not be so careful that flares stay empty.
	bound := s.SizeBound(32, 7<<20, 0)
	require.Less(t, bound, int64(8<<20))
}

func TestSelfTest(t *testing.T) {
	expired := certify(t, freshSigner(t), "acme/host-17", func(c *ssh.Certificate) { c.ValidAfter, c.ValidBefore = 1000, 2000 })
	future := certify(t, freshSigner(t), "acme/host-17", func(c *ssh.Certificate) { c.ValidAfter = 1 << 33 })
	_, ecdsa := otherSigners(t)
	for name, c := range map[string]struct {
		keys   string
		signer ssh.Signer
		want   string
	}{
		"classic":             {"recipients_classic.txt", plainSigner(t), ""},
		"post-quantum":        {"recipients.txt", certSigner(t), ""},
		"expired certificate": {"recipients_classic.txt", expired, ""},
		"future certificate":  {"recipients_classic.txt", future, ""},
		"no signer":           {"recipients_classic.txt", nil, "no signing key"},
		"wrong key":           {"recipients_classic.txt", ecdsa, "only ssh-ed25519"},
	} {
		t.Run(name, func(t *testing.T) {
			err := (&Sealer{Recipients: recipients(t, c.keys), Signer: c.signer}).SelfTest()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	require.Error(t, (&Sealer{Signer: plainSigner(t)}).SelfTest())
}

// A signer whose hardware lies is found before its first flare.
func TestSelfTestFindsABrokenSigner(t *testing.T) {
	s := testSealer(t)
	s.Signer = brokenSigner{s.Signer}
	err := s.SelfTest()
	requireReason(t, err, true, BadSignature)
}

type brokenSigner struct{ ssh.Signer }

func (b brokenSigner) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	sig, err := b.Signer.Sign(rand, data)
	if err == nil {
		sig.Blob[0] ^= 1
	}
	return sig, err
}
