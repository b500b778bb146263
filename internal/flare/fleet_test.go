package flare

import (
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// host is a machine of an autoscaled fleet: it makes a key, gets a certificate
// for an hour, and is gone soon after.
type host struct {
	name      string
	key, cert []byte // its files
}

func newHost(t *testing.T, ca ssh.Signer, name string, serial uint64) host {
	t.Helper()
	private := newEd25519(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	require.NoError(t, err)
	cert := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.UserCert, Serial: serial, KeyId: name, ValidPrincipals: []string{name},
		ValidAfter: uint64(testTime.Add(-time.Minute).Unix()), ValidBefore: uint64(testTime.Add(time.Hour).Unix()), //nolint:gosec // after 1970
	}
	require.NoError(t, cert.SignCert(rand.Reader, ca))
	return host{name, pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(cert)}
}

// flare seals with what stands in the host's files, at a time.
func (h host) flare(t *testing.T, created time.Time) []byte {
	t.Helper()
	signer, err := ParseSigner(h.key, h.cert)
	require.NoError(t, err)
	m := testManifest()
	m.Agent, m.Created = h.name, TimeOf(created)
	return sealed(t, &Sealer{Recipients: recipients(t, "recipients_classic.txt"), Signer: signer}, m, testFrames())
}

// One line per tenant is all that recovery knows of a fleet. Hosts come and go
// without a change of any file, each is who its certificate says, and a flare of
// a host that is long gone, with a certificate that has long ended, is taken.
func TestFleet(t *testing.T) {
	acme, globex := freshSigner(t), freshSigner(t)
	line := func(tenant string, ca ssh.Signer) string {
		return fmt.Sprintf("%s/* cert-authority,namespaces=%q %s\n", tenant, Namespace, authorized(ca))
	}
	p := testOpener(t)
	p.Identities = []age.Identity{p.Identities[1]}
	trust(t, line("acme", acme)+line("globex", globex))(p)
	require.Equal(t, 2, p.Signers.Len())

	open := func(h host, created time.Time) (*Flare, error) {
		return p.Open(Object{ID: testID, LastModified: testTime.Add(48 * time.Hour)}, h.flare(t, created))
	}
	var hosts []host
	for i := range 50 {
		hosts = append(hosts, newHost(t, acme, fmt.Sprintf("acme/web-%d", i), uint64(i)), newHost(t, globex, fmt.Sprintf("globex/web-%d", i), uint64(i)))
	}
	for _, h := range hosts {
		f, err := open(h, testTime)
		require.NoError(t, err)
		require.Equal(t, h.name, f.Principal)
	}

	t.Run("made after its certificate ended", func(t *testing.T) {
		_, err := open(hosts[0], testTime.Add(time.Hour))
		requireReason(t, err, false, ExpiredCertificate)
	})
	t.Run("an authority certifies its own tenant only", func(t *testing.T) {
		for name, ca := range map[string]ssh.Signer{"acme/web-1": globex, "globex/web-1": acme, "acme": acme, "acme2/web-1": acme} {
			_, err := open(newHost(t, ca, name, 1000), testTime)
			requireReason(t, err, false, UnknownSigner)
		}
	})
	t.Run("a certificate is for one host", func(t *testing.T) {
		for _, name := range []string{"acme/*", "acme/?", "*", "acme/a,acme/b", ""} {
			h := newHost(t, acme, name, 1001)
			_, err := ParseSigner(h.key, h.cert)
			require.ErrorContains(t, err, "exactly one principal", "the agent does not even start to use it")
		}
	})
	t.Run("patterns are for authorities", func(t *testing.T) {
		for _, plain := range []string{"acme/*", "*", "acme/web-?", "!acme/x", "acme/a,acme/b"} {
			_, err := ParseAllowedSigners(strings.NewReader(line("acme", acme) + plain + " " + authorized(freshSigner(t))))
			require.ErrorContains(t, err, "line 2: principal")
			require.ErrorContains(t, err, "only a cert-authority may have patterns")
		}
	})
	t.Run("a certified key is no authority", func(t *testing.T) {
		signer, err := ParseSigner(hosts[0].key, nil)
		require.NoError(t, err)
		_, err = open(newHost(t, signer, "acme/web-1", 1002), testTime)
		requireReason(t, err, false, UnknownSigner)
		_, err = open(host{hosts[0].name, hosts[0].key, nil}, testTime) // without its certificate it is a stranger
		requireReason(t, err, false, UnknownSigner)
	})
	t.Run("revocation wins", func(t *testing.T) {
		revoke(t, "serial:7 "+ssh.FingerprintSHA256(acme.PublicKey())+"\nprincipal:globex/web-3\n")(p)
		for _, h := range hosts {
			_, err := open(h, testTime) // also a flare made before the revocation
			if h.name == "acme/web-7" || h.name == "globex/web-3" {
				requireReason(t, err, true, RevokedKey)
				continue
			}
			require.NoError(t, err, h.name)
		}
		again := newHost(t, globex, "globex/web-3", 1003)
		_, err := open(again, testTime)
		requireReason(t, err, true, RevokedKey) // a new certificate does not bring the name back
		revoke(t, ssh.FingerprintSHA256(acme.PublicKey()))(p)
		_, err = open(hosts[0], testTime)
		requireReason(t, err, true, RevokedKey)
		_, err = open(hosts[1], testTime)
		require.NoError(t, err, "the other tenant's")
	})
}

// A line for the key itself makes up for a certificate whose time is over, and
// says who it is. A certificate that is good comes first, and revocation wins.
func TestALineForTheKeyOfACertificateThatEnded(t *testing.T) {
	acme := freshSigner(t)
	h := newHost(t, acme, "acme/web-1", 1)
	key, err := ParseSigner(h.key, nil)
	require.NoError(t, err)
	authority := "acme/* cert-authority " + authorized(acme) + "\n"
	plain := "acme/replaced " + authorized(key) + "\n"
	p := testOpener(t)
	p.Identities = []age.Identity{p.Identities[1]}
	open := func(created time.Time, signers, revoked string) (*Flare, error) {
		trust(t, signers)(p)
		revoke(t, revoked)(p)
		return p.Open(Object{ID: testID, LastModified: testTime.Add(48 * time.Hour)}, h.flare(t, created))
	}
	late := testTime.Add(2 * time.Hour)

	f, err := open(late, authority+plain, "")
	require.NoError(t, err)
	require.Equal(t, "acme/replaced", f.Principal)
	f, err = open(testTime, authority+plain, "")
	require.NoError(t, err)
	require.Equal(t, h.name, f.Principal)

	_, err = open(late, authority+strings.Replace(plain, " ", ` valid-before="20260101Z" `, 1), "")
	requireReason(t, err, false, ExpiredCertificate)
	_, err = open(late, authority+plain, "principal:acme/replaced")
	requireReason(t, err, false, ExpiredCertificate)
	for _, revoked := range []string{"serial:1 " + ssh.FingerprintSHA256(acme.PublicKey()), "principal:" + h.name} {
		_, err = open(late, authority+plain, revoked)
		requireReason(t, err, true, RevokedKey)
	}
}
