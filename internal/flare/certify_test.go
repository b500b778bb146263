package flare

import (
	"crypto/ed25519"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func freshSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return signer
}

// certify returns a signer with a new key and a certificate of it by ca, for
// principal, valid for ever, changed by change.
func certify(t testing.TB, ca ssh.Signer, principal string, change func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	signer := freshSigner(t)
	cert := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.UserCert, Serial: 7, KeyId: principal,
		ValidPrincipals: []string{principal}, ValidBefore: ssh.CertTimeInfinity,
	}
	if change != nil {
		change(cert)
	}
	require.NoError(t, cert.SignCert(rand.Reader, ca))
	certified, err := ssh.NewCertSigner(cert, signer)
	require.NoError(t, err)
	return certified
}
