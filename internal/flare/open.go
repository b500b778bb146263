package flare

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Object is what the store says about a flare.
type Object struct {
	ID           string // 32 hex digits of the key
	LastModified time.Time
	Date         time.Time // its clock when it said so; zero: LastModified counts
}

// Opener verifies flares. It is immutable and safe for concurrent use.
type Opener struct {
	Identities []age.Identity
	Signers    *Signers      // nil trusts nobody
	Revoked    *Revoked      // nil revokes nothing
	Audience   string        // empty: any; a flare without audience passes too
	MaxAge     time.Duration // how much older than the object a manifest may be; 0: times are not checked, for work by hand only
}

// Flare is a verified flare.
type Flare struct {
	Manifest  Manifest
	Principal string // what the trust file says about the key that signed
	Identity  int    // index of the identity that opened it
	Frames    []frame.Frame

	RawManifest  []byte // manifest.json, for ssh-keygen -Y verify
	RawSignature []byte // manifest.json.sig
}

// Open verifies data as the object o and returns what it holds. Errors are
// *Error. The flare's bodies are slices of newly allocated memory; data is not
// retained and may be shared.
//
// The order is that of docs/FLARE.md: every step is bounded by the one before
// it, JSON is parsed only behind a trusted key's signature, and nothing is
// returned unless the last byte of the object was verified.
func (p *Opener) Open(o Object, data []byte) (*Flare, error) {
	f, damage, err := p.Salvage(o, data)
	if err = cmp.Or(err, damage); err != nil {
		return nil, err
	}
	return f, nil
}

// Salvage is Open for a flare that may be damaged: behind a manifest that
// passes every check it returns the records in front of the damage, each
// verified by its hash, and the damage as an *Error; nil if there is none.
// Manifest.Records still lists all, the first len(Frames) of them are there. It
// is for work by hand: somebody decides what becomes of a flare of which a part
// is missing.
func (p *Opener) Salvage(o Object, data []byte) (f *Flare, damage, err error) {
	f, head, err := p.verify(o, data, nil)
	if err != nil {
		return nil, nil, err
	}
	f.Frames, damage = head.records(&f.Manifest)
	return f, damage, nil
}

// verify makes every check in front of the records, on an object that begins with
// data, and returns the flare without them; rest is what comes behind data, nil for
// nothing.
func (p *Opener) verify(o Object, data []byte, rest io.Reader) (*Flare, *head, error) {
	if !frame.IsHex32(o.ID) {
		return nil, nil, bad(Malformed, fmt.Errorf("object id %.40q is not 32 hex digits", o.ID))
	}
	head, err := p.openHead(data, rest)
	if err != nil {
		return nil, nil, err
	}
	signer, err := p.trust(head)
	if err != nil {
		return nil, nil, err
	}
	m, err := head.decode()
	if err != nil {
		return nil, nil, err
	}
	signer = p.at(m.Created.Time, signer)
	if err := p.accept(o, m, signer); err != nil {
		return nil, nil, err
	}
	return &Flare{
		Manifest: *m, Principal: signer.principal, Identity: head.identity,
		RawManifest: head.manifest, RawSignature: head.armored,
	}, head, nil
}

// head is the part of a flare that is read before its signature is verified.
type head struct {
	identity  int
	manifest  []byte // raw
	armored   []byte // the signature, raw
	signature *signature
	archive   *ustarReader // behind the signature
}

// openHead reads the head of a flare that begins with data; rest is what comes
// behind that, nil for nothing.
func (p *Opener) openHead(data []byte, rest io.Reader) (*head, error) {
	if len(data) > MaxObject {
		return nil, bad(Malformed, fmt.Errorf("%d bytes, more than %d", len(data), MaxObject))
	}
	if err := checkAgeHeader(data); err != nil {
		return nil, bad(Malformed, err)
	}
	src := io.Reader(bytes.NewReader(data))
	if rest != nil {
		src = io.MultiReader(src, rest)
	}
	plain, identity, err := p.decrypt(src)
	if err != nil {
		return nil, err
	}
	h := &head{identity: identity, archive: &ustarReader{r: plain, max: int64(len(data))}}
	if h.manifest, err = h.archive.small(manifestName, maxManifest); err != nil {
		return nil, bad(Malformed, err)
	}
	if h.armored, err = h.archive.small(signatureName, maxSignature); err != nil {
		return nil, bad(Malformed, err)
	}
	if h.signature, err = parseSignature(h.armored); err != nil {
		return nil, bad(Malformed, err)
	}
	return h, nil
}

// decode parses the manifest. Its caller knows who signed it, or does not care.
func (h *head) decode() (*Manifest, error) {
	m, err := decodeManifest(h.manifest)
	if errors.Is(err, errNewer) {
		return nil, notNow(NeedsNewer, err)
	}
	if err != nil {
		return nil, bad(Malformed, err)
	}
	return m, nil
}

// decrypt returns the plaintext, and which identity opened it.
func (p *Opener) decrypt(src io.Reader) (io.Reader, int, error) {
	if len(p.Identities) == 0 {
		return nil, 0, notNow(NoIdentity, errors.New("no identity is configured"))
	}
	opened := -1
	identities := make([]age.Identity, len(p.Identities))
	for i, id := range p.Identities {
		identities[i] = noting{id, func() { opened = i }}
	}
	plain, err := age.Decrypt(src, identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, 0, notNow(NoIdentity, errors.New("none of the identities opens it"))
	}
	if err != nil {
		return nil, 0, bad(Malformed, err)
	}
	return plain, opened, nil
}

// noting is an identity that tells when it fitted.
type noting struct {
	age.Identity
	fitted func()
}

// Unwrap implements age.Identity.
func (n noting) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := n.Identity.Unwrap(stanzas)
	if err == nil {
		n.fitted()
	}
	return key, err
}

// trust returns who signed the manifest, after the signature was verified over
// its raw bytes.
func (p *Opener) trust(h *head) (*trusted, error) {
	if p.Revoked.key(h.signature.key) {
		return nil, bad(RevokedKey, errors.New("the key that signed is revoked"))
	}
	signer, err := p.Signers.find(h.signature.key)
	if err != nil {
		return nil, notNow(UnknownSigner, err)
	}
	if p.Revoked.principal(signer.principal) {
		return nil, bad(RevokedKey, fmt.Errorf("%s is revoked", signer.principal))
	}
	if err := signer.verify(); err != nil {
		return nil, bad(BadSignature, err)
	}
	if err := h.signature.verify(h.manifest); err != nil {
		return nil, bad(BadSignature, err)
	}
	return signer, nil
}

// at returns who signed at created: who the certificate says, or, once its time is
// over, who a line for the key itself says. The signature was made with that key,
// so the line alone would have been enough.
func (p *Opener) at(created time.Time, signer *trusted) *trusted {
	if signer.cert == nil || signer.validAt(created) == nil {
		return signer
	}
	plain, err := p.Signers.find(signer.cert.Key)
	if err != nil || plain.validAt(created) != nil || p.Revoked.principal(plain.principal) {
		return signer
	}
	return plain
}

// clockSlack is how far ahead of the store's clock an agent's may be.
const clockSlack = 24 * time.Hour

// accept checks a manifest whose signature was verified against signer's times
// and the object it came in.
func (p *Opener) accept(o Object, m *Manifest, signer *trusted) error {
	created, latest := m.Created.Time, o.LastModified
	if !latest.IsZero() && o.Date.After(latest) {
		latest = o.Date
	}
	switch err := signer.validAt(created); {
	case err != nil:
		return notNow(ExpiredCertificate, err)
	case p.Audience != "" && m.Audience != "" && m.Audience != p.Audience:
		return notNow(OtherAudience, fmt.Errorf("made for audience %q, not %q", m.Audience, p.Audience))
	case m.FlareID != o.ID:
		return bad(IDMismatch, fmt.Errorf("signed as %s, stored as %s", m.FlareID, o.ID))
	case p.MaxAge == 0:
		return nil
	case created.After(latest.Add(clockSlack)):
		return notNow(Clock, fmt.Errorf("created at %s, but stored at %s: the agent's clock is ahead; it can be taken from %s",
			created.Format(time.RFC3339), o.LastModified.UTC().Format(time.RFC3339), created.Add(-clockSlack).Format(time.RFC3339)))
	case created.Before(o.LastModified.Add(-p.MaxAge)):
		return notNow(Stale, fmt.Errorf("created at %s, stored at %s: more than %s later",
			created.Format(time.RFC3339), o.LastModified.UTC().Format(time.RFC3339), p.MaxAge))
	}
	return nil
}

// records reads the record files m promises, and everything behind them. It
// returns those in front of an error with it.
func (h *head) records(m *Manifest) ([]frame.Frame, error) {
	frames := make([]frame.Frame, 0, len(m.Records))
	for i, r := range m.Records {
		stored, err := h.archive.file(r.Name, r.Size)
		if err != nil {
			return frames, bad(Malformed, err)
		}
		if sum := sha256.Sum256(stored); hex.EncodeToString(sum[:]) != r.SHA256 {
			return frames, bad(Hash, fmt.Errorf("%s is not what was signed", r.Name))
		}
		if err := checkStored(stored, r.RawSize); err != nil {
			return frames, bad(Malformed, fmt.Errorf("%s: %w", r.Name, err))
		}
		frames = append(frames, r.frame(i, stored))
	}
	if err := h.archive.end(); err != nil {
		return frames, bad(Malformed, err)
	}
	return frames, nil
}

// frame returns the i-th record, which was checked, as the frame it was.
func (r *Record) frame(i int, stored []byte) frame.Frame {
	f := frame.Frame{BatchID: r.BatchID, Meta: r.Meta, RawSize: r.RawSize, Stored: frame.Bytes(stored)}
	f.Signal, _ = signalOfName(r.Name, i)
	if r.Frame == "" {
		f.Header.Items = r.Items
		return f
	}
	f.Header, _ = frame.ParseHeader(r.Frame)
	return f
}
