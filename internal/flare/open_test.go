package flare

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
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

// A flare from the future is taken when the store's clock has come near enough,
// and gets no older by it: its age counts from when it was stored.
func TestTheFutureComes(t *testing.T) {
	stored := testTime.Add(time.Second)
	for _, c := range []struct {
		created, date time.Time
		reason        string
	}{
		{stored.Add(72 * time.Hour), stored.Add(48 * time.Hour), ""},
		{stored.Add(72 * time.Hour), stored.Add(48*time.Hour - time.Millisecond), Clock},
		{stored.Add(24 * time.Hour), stored.Add(-time.Hour), ""},
		{stored.Add(-336 * time.Hour), stored.Add(1000 * time.Hour), ""},
	} {
		_, err := forgery{
			fields: func(m *Manifest) { m.Created = TimeOf(c.created) },
			object: func(o *Object) { o.Date = c.date },
		}.open(t)
		if c.reason == "" {
			require.NoError(t, err)
			continue
		}
		requireReason(t, err, false, c.reason)
	}
}

// A store that tells no time must not switch the rule off.
func TestNoLastModifiedIsRefused(t *testing.T) {
	for _, date := range []time.Time{{}, testTime.Add(time.Hour)} {
		_, err := forgery{object: func(o *Object) { o.LastModified, o.Date = time.Time{}, date }}.open(t)
		requireReason(t, err, false, Clock)
	}
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
