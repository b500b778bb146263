package flare

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func authorized(signer ssh.Signer) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func TestAllowedSigners(t *testing.T) {
	a, b, ca := freshSigner(t), freshSigner(t), freshSigner(t)
	s, err := ParseAllowedSigners(strings.NewReader(strings.Join([]string{
		"# comment",
		"",
		"  acme/a " + authorized(a) + " a comment with blanks",
		"acme/b\tnamespaces=\"git,flare@lifeline\",valid-after=\"20260101Z\" " + authorized(b) + "\r",
		`initech/*,!initech/x cert-authority,namespaces="flare@*" ` + authorized(ca),
		`git namespaces="git" ssh-rsa AAAA`,
	}, "\n")))
	require.NoError(t, err)
	require.Equal(t, 3, s.Len())

	got, err := s.find(a.PublicKey())
	require.NoError(t, err)
	require.Equal(t, "acme/a", got.principal)
	require.NoError(t, got.validAt(time.Unix(0, 0)))

	got, err = s.find(b.PublicKey())
	require.NoError(t, err)
	require.Error(t, got.validAt(time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC)))
	require.NoError(t, got.validAt(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)))

	got, err = s.find(certify(t, ca, "initech/web-1", nil).PublicKey())
	require.NoError(t, err)
	require.Equal(t, "initech/web-1", got.principal)
	require.NoError(t, got.verify())

	for _, refused := range []ssh.PublicKey{
		ca.PublicKey(), // an authority signs certificates, not flares
		certify(t, ca, "initech/x", nil).PublicKey(),
		certify(t, ca, "acme/a", nil).PublicKey(),
		certify(t, a, "acme/a", nil).PublicKey(), // a plain key is no authority
		freshSigner(t).PublicKey(),
	} {
		_, err = s.find(refused)
		require.ErrorIs(t, err, errUnknownSigner)
	}
}

// A certificate says who its owner is only if it leaves no choice.
func TestCertificatesRefused(t *testing.T) {
	ca := freshSigner(t)
	s, err := ParseAllowedSigners(strings.NewReader("* cert-authority " + authorized(ca)))
	require.NoError(t, err)
	for name, edit := range map[string]func(*ssh.Certificate){
		"no principal":    func(c *ssh.Certificate) { c.ValidPrincipals = nil },
		"two principals":  func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a", "b"} },
		"odd principal":   func(c *ssh.Certificate) { c.ValidPrincipals = []string{"a\nb"} },
		"a pattern":       func(c *ssh.Certificate) { c.ValidPrincipals = []string{"acme/*"} },
		"blank":           func(c *ssh.Certificate) { c.ValidPrincipals = []string{"acme/a b"} },
		"host":            func(c *ssh.Certificate) { c.CertType = ssh.HostCert },
		"critical option": func(c *ssh.Certificate) { c.CriticalOptions = map[string]string{"force-command": "x"} },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := s.find(certify(t, ca, "acme/a", edit).PublicKey())
			require.Error(t, err)
		})
	}
	for name, edit := range map[string]func(*ssh.Certificate){
		"changed after signing": func(c *ssh.Certificate) { c.Serial++ },
		"never valid":           func(c *ssh.Certificate) { c.ValidBefore = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			cert, _ := certify(t, ca, "acme/a", nil).PublicKey().(*ssh.Certificate)
			edit(cert)
			got, err := s.find(cert)
			require.NoError(t, err)
			require.Error(t, got.verify())
		})
	}
}

func TestAllowedSignersRefused(t *testing.T) {
	a := authorized(freshSigner(t))
	_, ecdsa := otherSigners(t)
	cert := authorized(certify(t, freshSigner(t), "acme/a", nil))
	for name, c := range map[string]struct{ text, want string }{
		"empty":                    {"# nothing\n", "no key in the file"},
		"only for git":             {`acme/a namespaces="git" ` + a, "no key in the file"},
		"no key":                   {"acme/a", "line 1: want"},
		"half a key":               {"acme/a ssh-ed25519", "line 1: the key is malformed"},
		"key cut off":              {"acme/a " + a[:40], "line 1: the key is malformed"},
		"a certificate for a key":  {"acme/a " + strings.Replace(cert, ssh.CertAlgoED25519v01, ssh.KeyAlgoED25519, 1), "malformed"},
		"other kind":               {"\nacme/a " + authorized(ecdsa), `line 2: key of type "ecdsa`},
		"pattern on a plain key":   {"acme/* " + a, "must be one exact name"},
		"question mark":            {"acme/? " + a, "must be one exact name"},
		"comment in the name":      {"acme/a#1 " + a, "must be one exact name"},
		"two principals":           {"acme/a,acme/b " + a, "must be one exact name"},
		"long principal":           {strings.Repeat("a", 129) + " " + a, "at most 128"},
		"quoted principal":         {`"acme/a" ` + a, "without quotes"},
		"one key, two names":       {"acme/a " + a + "\nacme/b " + a, "line 2: the key of acme/a stands here again as acme/b"},
		"unknown option":           {"acme/a no-touch " + a, "unknown option"},
		"odd date":                 {`acme/a valid-before="tomorrow" ` + a, "want YYYYMMDDZ"},
		"the zero time":            {`acme/a valid-before="00010101Z" ` + a, "after 1970 began"},
		"a date twice":             {`acme/a valid-before="20260101Z",Valid-Before="20990101Z" ` + a, `option "valid-before" stands twice`},
		"quote not closed":         {`acme/a namespaces="flare@lifeline ` + a, "a quote is not closed"},
		"nothing behind options":   {`acme/a cert-authority`, "no key behind the options"},
		"line too long":            {strings.Repeat("a", maxTrustLine+1), "token too long"},
		"broken after a good line": {"acme/a " + a + "\nx", "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseAllowedSigners(strings.NewReader(c.text))
			require.ErrorContains(t, err, c.want)
			require.Nil(t, s)
		})
	}
}

func TestTrustFilesAreBounded(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("# "), newRepeater("\n# "))
	_, err := ParseAllowedSigners(endless)
	require.ErrorContains(t, err, "longer than")
	_, err = ParseAllowedSigners(iotest.ErrReader(errDisk))
	require.ErrorIs(t, err, errDisk)
}

// repeater repeats a text for ever.
type repeater struct {
	text string
	at   int
}

func newRepeater(text string) *repeater { return &repeater{text: text} }

func (r *repeater) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = r.text[r.at%len(r.text)]
		r.at++
	}
	return len(b), nil
}

func TestValidity(t *testing.T) {
	var at time.Time
	for text, want := range map[string]time.Time{
		"20260102Z":       time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"202601020304Z":   time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"20260102030405Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"20260102":        time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
	} {
		require.NoError(t, parseValidity(text, &at), text)
		require.True(t, want.Equal(at), text)
	}
	for _, text := range []string{"", "Z", "2026", "20261301Z", "20260102T030405Z", "202601020304056Z"} {
		require.Error(t, parseValidity(text, &at), text)
	}
}

func TestMatchList(t *testing.T) {
	for _, c := range []struct {
		list, s string
		want    bool
	}{
		{"*", "", true},
		{"*", "acme/a", true},
		{"acme/*", "acme/a", true},
		{"acme/*", "acme/", true},
		{"acme/*", "acm", false},
		{"acme/?", "acme/a", true},
		{"acme/?", "acme/ab", false},
		{"*/web-*", "acme/web-1", true},
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "aXbYbZ", false},
		{"acme", "ACME", false},
		{"a,b", "b", true},
		{"a,b", "a,b", false},
		{"!acme/x,acme/*", "acme/x", false},
		{"acme/*,!acme/x", "acme/x", false},
		{"!acme/x", "acme/y", false},
		{"", "", true},
		{"", "a", false},
	} {
		require.Equal(t, c.want, matchList(c.list, c.s), "%+v", c)
	}
	// A pattern made to backtrack must not take for ever.
	require.False(t, matchList(strings.Repeat("a*", 2000)+"b", strings.Repeat("a", 4000)))
}

func TestRevoked(t *testing.T) {
	ca := freshSigner(t)
	caPrint := ssh.FingerprintSHA256(ca.PublicKey())
	a := freshSigner(t)
	list, err := ParseRevoked(strings.NewReader(fmt.Sprintf("# thieves\n%s\nserial:7 %s\nprincipal:acme/b\n",
		ssh.FingerprintSHA256(a.PublicKey()), caPrint)))
	require.NoError(t, err)
	require.Equal(t, 3, list.Len())
	require.True(t, list.key(a.PublicKey()))
	require.False(t, list.key(freshSigner(t).PublicKey()))
	require.True(t, list.key(certify(t, ca, "x", nil).PublicKey()))
	require.False(t, list.key(certify(t, ca, "x", func(c *ssh.Certificate) { c.Serial = 8 }).PublicKey()))
	require.False(t, list.key(certify(t, freshSigner(t), "x", nil).PublicKey()), "the same serial of another authority")
	require.True(t, list.principal("acme/b"))
	require.False(t, list.principal("acme/a"))

	var none *Revoked
	require.Zero(t, none.Len())
	require.False(t, none.key(a.PublicKey()) || none.principal("acme/b"))
	empty, err := ParseRevoked(strings.NewReader(""))
	require.NoError(t, err)
	require.Zero(t, empty.Len())

	for _, line := range []string{
		"x", "principal:", "principal:acme/*", "principal:acme/?", "principal:!acme/a", "principal: acme/a", "principal:acme/a # stolen",
		"principal:acme/a#stolen", "principal:acme/a stolen", "principal:acme/a,acme/b", `principal:"acme/a"`, "principal:caf\xe9", "SHA256:", "SHA256:abc", "SHA256:" + strings.Repeat("A", 44), "MD5:00", "serial:7", "serial:x " + caPrint,
		"serial:-1 " + caPrint, "serial:7 " + caPrint + " x", caPrint + " comment",
	} {
		_, err := ParseRevoked(strings.NewReader("principal:a\n" + line))
		require.ErrorContains(t, err, "line 2: want", line)
	}
}

// TestCarriageReturns: lines that an editor ended with nothing but a carriage
// return would be one comment, and nobody would be revoked.
func TestCarriageReturns(t *testing.T) {
	list, err := ParseRevoked(strings.NewReader("# stolen\r\nprincipal:acme/a\r\n"))
	require.NoError(t, err)
	require.Equal(t, 1, list.Len())
	print := "SHA256:" + strings.Repeat("A", 41)
	for _, text := range []string{"# stolen\rprincipal:acme/a\r", print[:20] + "\r\r" + print[20:] + "AA", print[:20] + "\r" + print[20:] + "A"} {
		_, err := ParseRevoked(strings.NewReader("principal:a\n" + text))
		require.ErrorContains(t, err, "line 2: a carriage return inside the line")
	}
}

func TestTenant(t *testing.T) {
	require.Equal(t, "acme", Tenant("acme/host-17"))
	require.Equal(t, "acme", Tenant("acme/a/b"))
	require.Equal(t, "host-17", Tenant("host-17"))
}
