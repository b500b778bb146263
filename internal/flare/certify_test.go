package flare

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func newEd25519(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func freshSigner(t testing.TB) ssh.Signer {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(newEd25519(t))
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

// otherSigners returns signers of kinds that may not sign flares.
func otherSigners(t testing.TB) (rsaSigner, ecdsaSigner ssh.Signer) {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rsaSigner, err = ssh.NewSignerFromKey(r)
	require.NoError(t, err)
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ecdsaSigner, err = ssh.NewSignerFromKey(e)
	require.NoError(t, err)
	return rsaSigner, ecdsaSigner
}

// marshalRSA returns a new RSA key as an OpenSSH private key file.
func marshalRSA(t testing.TB) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	return pem.EncodeToMemory(block)
}
