package flare

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

const (
	testID   = "0123456789abcdef0123456789abcdef"
	testBoot = "fedcba9876543210fedcba9876543210"
)

// testTime is when test flares are made: the published certificate is valid then.
var testTime = time.Date(2026, 9, 21, 6, 31, 0, 0, time.UTC)

func keyFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "keys", name)) //nolint:gosec // a published key
	require.NoError(t, err)
	return b
}

// parsedFiles are key files that were parsed before: what comes out is immutable.
var parsedFiles sync.Map

func parsed[T any](t testing.TB, name string, parse func(io.Reader) (T, error)) T {
	t.Helper()
	if known, ok := parsedFiles.Load(name); ok {
		v, _ := known.(T)
		return v
	}
	v, err := parse(bytes.NewReader(keyFile(t, name)))
	require.NoError(t, err)
	parsedFiles.Store(name, v)
	return v
}

func recipients(t testing.TB, name string) []age.Recipient {
	t.Helper()
	return slices.Clone(parsed(t, name, func(r io.Reader) ([]age.Recipient, error) { return ParseRecipients(r, false) }))
}

func plainSigner(t testing.TB) ssh.Signer {
	t.Helper()
	signer, err := ParseSigner(keyFile(t, "agent_ed25519"), nil)
	require.NoError(t, err)
	return signer
}

func certSigner(t testing.TB) ssh.Signer {
	t.Helper()
	signer, err := ParseSigner(keyFile(t, "certified_ed25519"), keyFile(t, "certified_ed25519-cert.pub"))
	require.NoError(t, err)
	return signer
}

// testSealer seals with classic keys, which are the faster ones.
func testSealer(t testing.TB) *Sealer {
	t.Helper()
	return &Sealer{Recipients: recipients(t, "recipients_classic.txt"), Signer: plainSigner(t)}
}

// testOpener opens and trusts what testSealer and its kin make.
func testOpener(t testing.TB) *Opener {
	t.Helper()
	return &Opener{
		Identities: slices.Concat(parsed(t, "recovery.key", ParseIdentities), parsed(t, "recovery_classic.key", ParseIdentities)),
		Signers:    parsed(t, "allowed_signers", ParseAllowedSigners),
		Revoked:    parsed(t, "revoked", ParseRevoked),
		Audience:   "acme-prod",
		MaxAge:     336 * time.Hour,
	}
}

func testManifest() *Manifest {
	return &Manifest{
		FlareID: testID, Audience: "acme-prod", Agent: "acme/host-17", BootID: testBoot, Seq: 3,
		Unresolved: []uint64{2}, Reason: Expired, Created: TimeOf(testTime),
		Report: Report{
			Version: "v0.1.0", Uptime: 90_000, ClockOffset: -12,
			Causes: map[string]int64{"refused": 40}, Sample: map[string]string{"refused": "connect: connection refused"},
		},
		Lost: map[string]int64{"logs": 7},
	}
}

func testHeader(seq uint64, items int64) frame.Header {
	at := testTime.UnixMilli()
	return frame.Header{Agent: "acme/host-17", Boot: testBoot, Seq: seq, From: at - 2000, To: at - 1000, Items: items, Attempt: 1}
}

// frameHeader begins a zstd frame that does not state its size.
const frameHeader = "\x28\xb5\x2f\xfd\x00\x48"

// testFrames returns frames of three signals, one of them half a batch. Nobody
// decodes them, so they only begin as zstd does.
func testFrames() []frame.Frame {
	frames := plainFrames()
	for i := range frames {
		body, _ := frames[i].Stored.(frame.Bytes)
		frames[i].Stored = append(frame.Bytes(frameHeader), body...)
	}
	return frames
}

func plainFrames() []frame.Frame {
	id := func(n int) frame.BatchID { return frame.BatchID(fmt.Sprintf("%032x", n)) }
	return []frame.Frame{
		{
			Signal: frame.Traces, BatchID: id(1), Header: testHeader(1, 3), RawSize: 1000,
			Meta: map[string][]string{"x-scope-orgid": {"acme", "<&>"}}, Stored: frame.Bytes("stored traces"),
		},
		{Signal: frame.Logs, BatchID: id(2) + ".0.1", Header: testHeader(1, 4), RawSize: 512, Stored: frame.Bytes(bytes.Repeat([]byte("l"), 512))},
		{Signal: frame.Metrics, BatchID: id(3), Header: testHeader(9, 5), RawSize: 70_000, Stored: frame.Bytes(bytes.Repeat([]byte("m"), 65_537))},
		{Signal: frame.Traces, BatchID: id(4), Header: testHeader(2, 6), RawSize: 60, Stored: frame.Bytes("x")},
	}
}

// storedAs is what a store says about a test flare.
func storedAs(id string) Object { return Object{ID: id, LastModified: testTime.Add(time.Second)} }

func sealed(t testing.TB, s *Sealer, m *Manifest, frames []frame.Frame) []byte {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, s.Seal(&buf, m, frames))
	return buf.Bytes()
}

// A forgery is a flare that no Sealer would make: the test changes what it wants
// and the rest stays as it must be.
type forgery struct {
	manifest func(raw []byte) []byte            // before it is signed
	signed   func(raw []byte) []byte            // after it was signed
	sig      func(armored []byte) []byte        // of the signature's text
	archive  func(tar []byte) []byte            // of the whole archive
	sealed   func(flare []byte) []byte          // of the age file
	signer   ssh.Signer                         // instead of the plain key
	few      bool                               // only two of testFrames
	frames   func([]frame.Frame) []frame.Frame  // of testFrames
	opener   func(*Opener)                      // of who opens it
	object   func(*Object)                      // of what the store says
	fields   func(*Manifest)                    // before it is filled in
	records  func(m *Manifest, f []frame.Frame) // after it was filled in
	to       func([]age.Recipient) []age.Recipient
}

func change(f func([]byte) []byte, b []byte) []byte {
	if f == nil {
		return b
	}
	return f(bytes.Clone(b))
}

// forge makes the flare.
func (f forgery) forge(t testing.TB) []byte {
	t.Helper()
	m, frames := testManifest(), testFrames()
	if f.few {
		frames = frames[:2]
	}
	if f.frames != nil {
		frames = f.frames(frames)
	}
	if f.fields != nil {
		f.fields(m)
	}
	m.fillUnchecked(t, frames)
	if f.records != nil {
		f.records(m, frames)
	}
	raw, err := encodeManifest(m)
	require.NoError(t, err)
	raw = change(f.manifest, raw)
	signer := f.signer
	if signer == nil {
		signer = plainSigner(t)
	}
	sig, err := sign(signer, raw)
	require.NoError(t, err)
	var tar bytes.Buffer
	require.NoError(t, writeArchive(&tar, archive{change(f.signed, raw), change(f.sig, sig), m.Records, frames}))
	return change(f.sealed, ageSeal(t, f.to, change(f.archive, tar.Bytes())))
}

// fillUnchecked is fill without its last step.
func (m *Manifest) fillUnchecked(t testing.TB, frames []frame.Frame) {
	t.Helper()
	_ = m.fill(frames)
	require.Len(t, m.Records, len(frames))
}

func ageSeal(t testing.TB, to func([]age.Recipient) []age.Recipient, plain []byte) []byte {
	t.Helper()
	list := recipients(t, "recipients_classic.txt")
	if to != nil {
		list = to(list)
	}
	var buf bytes.Buffer
	w, err := age.Encrypt(&buf, list...)
	require.NoError(t, err)
	_, err = w.Write(plain)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return buf.Bytes()
}

// reader returns who opens the forgery, and what the store says about it.
func (f forgery) reader(t testing.TB) (*Opener, Object) {
	t.Helper()
	p, o := testOpener(t), storedAs(testID)
	if f.opener != nil {
		f.opener(p)
	}
	if f.object != nil {
		f.object(&o)
	}
	return p, o
}

// open opens the forgery.
func (f forgery) open(t testing.TB) (*Flare, error) {
	t.Helper()
	p, o := f.reader(t)
	return p.Open(o, f.forge(t))
}
