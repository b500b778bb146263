package flare

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Sealer holds an agent's public keys and its signing key. It is immutable and
// safe for concurrent use.
type Sealer struct {
	Recipients []age.Recipient // the same list on every agent
	Signer     ssh.Signer      // Ed25519, plain or with a certificate
}

// Seal writes a flare of frames to w. It fills m.FlareID (unless set), m.Type,
// m.Totals and m.Records from the frames, and m.Oldest and m.Newest unless set;
// the caller sets the rest. It cuts m.Report and m.Unresolved to their limits
// and leaves out metadata that could not be a header. A frame with Header.Seq 0
// has no lifeline-frame text: only a drill may hold such a frame.
//
// Every frame's body is written out twice and never copied. An error of w is
// returned wrapped; after an error what was written is worthless.
func (s *Sealer) Seal(w io.Writer, m *Manifest, frames []frame.Frame) error {
	if len(s.Recipients) == 0 || len(s.Recipients) > maxStanzas {
		return fmt.Errorf("seal: %d recipients: must be 1 to %d", len(s.Recipients), maxStanzas)
	}
	if s.Signer == nil {
		return errors.New("seal: no signing key")
	}
	if err := m.fill(frames); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	manifest, err := encodeManifest(m)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	sig, err := sign(s.Signer, manifest)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if len(sig) > maxSignature {
		return fmt.Errorf("seal: the signature has %d bytes, more than %d: use a smaller certificate", len(sig), maxSignature)
	}
	sealed, err := age.Encrypt(w, s.Recipients...)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := writeArchive(sealed, archive{manifest, sig, m.Records, frames}); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := sealed.Close(); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// archive is everything that stands in the tar.
type archive struct {
	manifest, signature []byte
	records             []Record
	frames              []frame.Frame
}

// writeArchive writes the inner tar: the same bytes for the same archive.
func writeArchive(w io.Writer, a archive) error {
	if err := writeEntry(w, manifestName, int64(len(a.manifest)), frame.Bytes(a.manifest)); err != nil {
		return err
	}
	if err := writeEntry(w, signatureName, int64(len(a.signature)), frame.Bytes(a.signature)); err != nil {
		return err
	}
	size := entrySize(int64(len(a.manifest))) + entrySize(int64(len(a.signature)))
	for i, r := range a.records {
		if err := writeEntry(w, r.Name, r.Size, a.frames[i].Stored); err != nil {
			return err
		}
		size += entrySize(r.Size)
	}
	padding := paddingSize(size)
	h := ustarHeader(paddingName, padding)
	if _, err := w.Write(h[:]); err != nil {
		return err
	}
	return writeZeros(w, padding+endOfArchive)
}

// fill completes m from the frames and checks it as a reader will.
func (m *Manifest) fill(frames []frame.Frame) error {
	m.Type = Type
	if m.FlareID == "" {
		m.FlareID = frame.RandomHex()
	}
	m.Critical = nil
	m.Created = TimeOf(m.Created.Time)
	m.fillSpan(frames)
	if n := len(m.Unresolved) - maxUnresolved; n > 0 {
		m.Unresolved = m.Unresolved[n:]
	}
	m.Report = m.Report.cut()
	m.Totals = map[string]Total{}
	m.Records = make([]Record, 0, len(frames))
	for i, f := range frames {
		r, err := newRecord(i, f)
		if err != nil {
			return err
		}
		m.Records = append(m.Records, r)
		t := m.Totals[f.Signal.String()]
		m.Totals[f.Signal.String()] = Total{t.Frames + 1, t.Items + r.Items, t.RawBytes + r.RawSize}
	}
	return m.check()
}

// fillSpan sets Oldest and Newest, unless set, from the frames' headers.
func (m *Manifest) fillSpan(frames []frame.Frame) {
	var from, to int64
	for i, f := range frames {
		if i == 0 || f.Header.From < from {
			from = f.Header.From
		}
		to = max(to, f.Header.To)
	}
	if m.Oldest.IsZero() {
		m.Oldest.Time = time.UnixMilli(from)
	}
	if m.Newest.IsZero() {
		m.Newest.Time = time.UnixMilli(to)
	}
	m.Oldest, m.Newest = TimeOf(m.Oldest.Time), TimeOf(m.Newest.Time)
	if m.Newest.Before(m.Oldest.Time) {
		m.Newest = m.Oldest // a clock that was set back must not cost the flare
	}
}

// cut returns r within its limit.
func (r Report) cut() Report {
	fits := func() bool {
		text, err := json.Marshal(r)
		return err == nil && len(text) <= maxReport
	}
	if !fits() {
		r.Sample = nil
	}
	if !fits() {
		r.Causes = nil
	}
	if !fits() || !printable(r.Version, maxReport) {
		r.Version = ""
	}
	return r
}

func newRecord(i int, f frame.Frame) (Record, error) {
	if int(f.Signal) >= frame.NumSignals {
		return Record{}, fmt.Errorf("frame %d: unknown signal %d", i+1, f.Signal)
	}
	hash := sha256.New()
	size, err := f.Stored.WriteTo(hash)
	if err != nil {
		return Record{}, fmt.Errorf("read frame %d: %w", i+1, err)
	}
	r := Record{
		Name:    recordName(i, f.Signal),
		Size:    size,
		SHA256:  hex.EncodeToString(hash.Sum(nil)),
		RawSize: f.RawSize,
		Items:   f.Header.Items,
		BatchID: f.BatchID,
		Meta:    cleanMeta(f.Meta),
	}
	if f.Header.Seq > 0 {
		r.Frame = f.Header.String()
	}
	return r, nil
}
