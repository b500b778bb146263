package flare

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestRoundTrip(t *testing.T) {
	for _, keys := range []string{"recipients.txt", "recipients_classic.txt"} {
		for name, signer := range map[string]ssh.Signer{"acme/host-17": plainSigner(t), "initech/web-1": certSigner(t)} {
			t.Run(keys+" "+name, func(t *testing.T) {
				s := &Sealer{Recipients: recipients(t, keys), Signer: signer}
				m := testManifest()
				data := sealed(t, s, m, testFrames())
				f, err := testOpener(t).Open(storedAs(testID), data)
				require.NoError(t, err)
				require.Equal(t, name, f.Principal)
				require.Equal(t, *m, f.Manifest)
				require.Equal(t, testFrames(), f.Frames)
				require.Equal(t, map[string]int{"recipients.txt": 0, "recipients_classic.txt": 1}[keys], f.Identity)
				raw, err := encodeManifest(m)
				require.NoError(t, err)
				require.Equal(t, raw, f.RawManifest)
				require.True(t, bytes.HasPrefix(f.RawSignature, []byte(sigBegin)))
			})
		}
	}
}

func TestAnEmptyAudiencePasses(t *testing.T) {
	_, err := forgery{fields: func(m *Manifest) { m.Audience = "" }}.open(t)
	require.NoError(t, err)
	_, err = forgery{opener: func(p *Opener) { p.Audience = "" }}.open(t)
	require.NoError(t, err)
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	_, err := forgery{manifest: replace(`"seq":3`, `"seq":3,"colour":{"of":["the","moon"]}`)}.open(t)
	require.NoError(t, err)
}

// Times are bound to the store's clock, not to the reader's: a flare may wait
// for as long as it must.
func TestTimeRule(t *testing.T) {
	stored := testTime.Add(time.Second)
	for _, c := range []struct {
		created time.Time
		reason  string
	}{
		{stored.Add(-336 * time.Hour), ""},
		{stored.Add(-336*time.Hour - time.Millisecond), Stale},
		{stored.Add(24 * time.Hour), ""},
		{stored.Add(24*time.Hour + time.Millisecond), Clock},
	} {
		_, err := forgery{fields: func(m *Manifest) { m.Created = TimeOf(c.created) }}.open(t)
		if c.reason == "" {
			require.NoError(t, err)
			continue
		}
		requireReason(t, err, false, c.reason)
	}
}

// A store that tells no time must not switch the rule off.
func TestNoLastModifiedIsRefused(t *testing.T) {
	_, err := forgery{object: func(o *Object) { o.LastModified = time.Time{} }}.open(t)
	requireReason(t, err, false, Clock)
}

func TestZeroMaxAgeChecksNoTimes(t *testing.T) {
	_, err := forgery{
		object: func(o *Object) { o.LastModified = time.Time{} },
		opener: func(p *Opener) { p.MaxAge = 0 },
	}.open(t)
	require.NoError(t, err)
}

func requireReason(t testing.TB, err error, isBad bool, reason string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok, "not an *Error: %v", err)
	require.Equal(t, reason, e.Reason, "%v", err)
	require.Equal(t, isBad, e.Bad, "%v", err)
}

func replace(old, with string) func([]byte) []byte {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(old)) {
			panic(fmt.Sprintf("%q is not in %q", old, b))
		}
		return bytes.Replace(b, []byte(old), []byte(with), 1)
	}
}

func cut(n int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:len(b)-n] }
}

func add(text string) func([]byte) []byte {
	return func(b []byte) []byte { return append(b, text...) }
}

// flip changes one bit, counted from the end if at is negative.
func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= 1
		return b
	}
}

func trust(t testing.TB, text string) func(*Opener) {
	return func(p *Opener) {
		var err error
		p.Signers, err = ParseAllowedSigners(strings.NewReader(text))
		require.NoError(t, err)
	}
}

func revoke(t testing.TB, text string) func(*Opener) {
	return func(p *Opener) {
		var err error
		p.Revoked, err = ParseRevoked(strings.NewReader(text))
		require.NoError(t, err)
	}
}

// Every reason has its rows: what a stranger, a thief, a broken disk or an
// operator's mistake can do to a flare.
func TestRefused(t *testing.T) {
	plain := string(ssh.MarshalAuthorizedKey(plainSigner(t).PublicKey()))
	cert, _ := certSigner(t).PublicKey().(*ssh.Certificate)
	ca := string(ssh.MarshalAuthorizedKey(cert.SignatureKey))
	stranger := freshSigner(t)
	for _, c := range []struct {
		name   string
		f      forgery
		bad    bool
		reason string
	}{
		// The object.
		{"id is no id", forgery{object: func(o *Object) { o.ID = "../etc/passwd" }}, true, Malformed},
		{"stored under another id", forgery{object: func(o *Object) { o.ID = strings.Repeat("0", 32) }}, true, IDMismatch},
		{"too large", forgery{sealed: func([]byte) []byte { return make([]byte, MaxObject+1) }}, true, Malformed},
		{"empty", forgery{sealed: func([]byte) []byte { return nil }}, true, Malformed},
		// Recipients and identities.
		{"no identity", forgery{opener: func(p *Opener) { p.Identities = nil }}, false, NoIdentity},
		{"not for us", forgery{to: func([]age.Recipient) []age.Recipient { return recipients(t, "recipients_classic.txt")[1:] }}, false, NoIdentity},
		// The signature.
		{"nobody is trusted", forgery{opener: func(p *Opener) { p.Signers = nil }}, false, UnknownSigner},
		{"a stranger's key", forgery{signer: stranger}, false, UnknownSigner},
		{"a stranger's key and a bad signature", forgery{signer: stranger, signed: add(" ")}, false, UnknownSigner},
		{"a stranger's certificate", forgery{signer: certify(t, stranger, "initech/web-1", nil)}, false, UnknownSigner},
		{"a principal that the authority may not certify", forgery{signer: certSigner(t), opener: trust(t, "acme/* cert-authority "+ca)}, false, UnknownSigner},
		{"manifest changed", forgery{signed: replace(`"seq":3`, `"seq":4`)}, true, BadSignature},
		{"manifest longer", forgery{signed: add("\n")}, true, BadSignature},
		{"no armor", forgery{sig: func([]byte) []byte { return []byte("sig") }}, true, Malformed},
		// Revocation wins over everything.
		{"revoked key", forgery{opener: revoke(t, ssh.FingerprintSHA256(plainSigner(t).PublicKey()))}, true, RevokedKey},
		{"revoked stranger", forgery{signer: stranger, opener: revoke(t, ssh.FingerprintSHA256(stranger.PublicKey()))}, true, RevokedKey},
		{"revoked principal", forgery{opener: revoke(t, "principal:acme/host-17")}, true, RevokedKey},
		{"revoked certified key", forgery{signer: certSigner(t), opener: revoke(t, ssh.FingerprintSHA256(cert.Key))}, true, RevokedKey},
		{"revoked serial", forgery{signer: certSigner(t), opener: revoke(t, "serial:42 "+ssh.FingerprintSHA256(cert.SignatureKey))}, true, RevokedKey},
		{"revoked authority", forgery{signer: certSigner(t), opener: revoke(t, ssh.FingerprintSHA256(cert.SignatureKey))}, true, RevokedKey},
		{"revoked certified principal", forgery{signer: certSigner(t), opener: revoke(t, "principal:initech/web-1")}, true, RevokedKey},
		// Time of signing.
		{"certificate expired", forgery{signer: certSigner(t), fields: func(m *Manifest) { m.Created.Time = testTime.AddDate(1, 0, 0) }}, false, ExpiredCertificate},
		{"certificate not valid yet", forgery{signer: certSigner(t), fields: func(m *Manifest) { m.Created.Time = testTime.AddDate(-1, 0, 0) }}, false, ExpiredCertificate},
		{"line expired", forgery{opener: trust(t, `acme/host-17 valid-before="20260901Z" `+plain)}, false, ExpiredCertificate},
		{"line not valid yet", forgery{opener: trust(t, `acme/host-17 valid-after="20261001Z" `+plain)}, false, ExpiredCertificate},
		// What the manifest says.
		{"other audience", forgery{fields: func(m *Manifest) { m.Audience = "acme-test" }}, false, OtherAudience},
		{"newer type", forgery{manifest: replace("flare/v1", "flare/v2")}, false, NeedsNewer},
		{"newer type of a stranger", forgery{manifest: replace("flare/v1", "flare/v2"), signer: stranger}, false, UnknownSigner},
		{"critical field", forgery{manifest: replace(`"seq":3`, `"seq":3,"critical":["colour"]`)}, false, NeedsNewer},
		{"other type", forgery{manifest: replace("lifeline.flare/v1", "application/json")}, true, Malformed},
		// Records.
		{"record changed", forgery{archive: replace("stored traces", "stored tracez")}, true, Hash},
		{"record name", forgery{archive: replace("000001.traces.binpb.zst\x00", "000001.traces.binpb.gz\x00\x00")}, true, Malformed},
		{"record missing", forgery{records: func(m *Manifest, _ []frame.Frame) { m.Records = m.Records[:3] }, manifest: nil, fields: nil}, true, Malformed},
		// The end.
		{"one byte cut off", forgery{sealed: cut(1)}, true, Malformed},
		{"last chunk cut off", forgery{sealed: cut(20_000)}, true, Malformed},
		{"bytes behind", forgery{sealed: add("x")}, true, Malformed},
		{"header changed", forgery{sealed: flip(30)}, true, Malformed},
		{"mac changed", forgery{sealed: func(b []byte) []byte { return flip(bytes.Index(b, []byte("\n--- ")) + 10)(b) }}, true, Malformed},
		{"payload changed", forgery{sealed: flip(-1)}, true, Malformed},
		{"archive cut to its end", forgery{archive: cut(endOfArchive)}, true, Malformed},
		{"archive cut within its end", forgery{archive: cut(block)}, true, Malformed},
		{"archive longer", forgery{archive: add(string(zeros[:block]))}, true, Malformed},
		{"end is not zero", forgery{archive: flip(-1)}, true, Malformed},
		{"padding is not zero", forgery{archive: flip(-endOfArchive - 1)}, true, Malformed},
		{"padding of another size", forgery{archive: func(b []byte) []byte { return append(b, zeros[:2048]...) }}, true, Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := c.f.open(t)
			require.Nil(t, f, "nothing is released")
			requireReason(t, err, c.bad, c.reason)
		})
	}
}

// Whatever bit is hit, wherever the object ends: never a flare that differs from
// the one that was sealed.
func TestDamage(t *testing.T) {
	data := forgery{}.forge(t)
	p := testOpener(t)
	for at := 0; at < len(data); at += 37 {
		f, err := p.Open(storedAs(testID), flip(at)(bytes.Clone(data)))
		require.Error(t, err, "bit %d", at)
		require.Nil(t, f)
		f, err = p.Open(storedAs(testID), data[:at])
		require.Error(t, err, "cut at %d", at)
		require.Nil(t, f)
	}
}

func TestInspect(t *testing.T) {
	p := &Opener{Identities: testOpener(t).Identities}
	i, err := p.Inspect(forgery{signer: certSigner(t)}.forge(t))
	require.NoError(t, err)
	require.NoError(t, i.Signature)
	require.NoError(t, i.Content)
	cert, _ := certSigner(t).PublicKey().(*ssh.Certificate)
	require.Equal(t, ssh.FingerprintSHA256(cert.Key), i.Fingerprint)
	require.Equal(t, testID, i.Manifest.FlareID)

	i, err = p.Inspect(forgery{signed: replace(`"seq":3`, `"seq":4`)}.forge(t))
	require.NoError(t, err)
	require.ErrorContains(t, i.Signature, "not SHA256:")
	require.Equal(t, uint64(4), i.Manifest.Seq)

	i, err = p.Inspect(forgery{archive: replace("stored traces", "stored tracez")}.forge(t))
	require.NoError(t, err)
	requireReason(t, i.Content, true, Hash)

	_, err = p.Inspect([]byte("garbage"))
	requireReason(t, err, true, Malformed)
}
