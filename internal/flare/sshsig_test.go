package flare

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

func TestSignatures(t *testing.T) {
	for name, signer := range map[string]ssh.Signer{"key": plainSigner(t), "certificate": certSigner(t)} {
		t.Run(name, func(t *testing.T) {
			text, err := sign(signer, []byte("manifest"))
			require.NoError(t, err)
			sig, err := parseSignature(text)
			require.NoError(t, err)
			require.Equal(t, signer.PublicKey().Marshal(), sig.key.Marshal())
			require.NoError(t, sig.verify([]byte("manifest")))
			require.Error(t, sig.verify([]byte("manifesto")))
		})
	}
}

// blob makes an armored signature out of parts that sign would never put there.
func blob(t testing.TB, edit func(*sigBlob)) []byte {
	t.Helper()
	signer := plainSigner(t)
	sig, err := signer.Sign(nil, signedBytes([]byte("manifest")))
	require.NoError(t, err)
	b := sigBlob{1, signer.PublicKey().Marshal(), Namespace, "", sigHash, ssh.Marshal(sig)}
	edit(&b)
	return armor(append([]byte(sigMagic), ssh.Marshal(b)...))
}

func TestSignaturesRefused(t *testing.T) {
	rsa, ecdsa := otherSigners(t)
	good := blob(t, func(*sigBlob) {})
	_, err := parseSignature(good)
	require.NoError(t, err)
	body := strings.TrimSuffix(strings.TrimPrefix(string(good), sigBegin), sigEnd)
	for name, text := range map[string][]byte{
		"empty":                   nil,
		"no begin":                good[1:],
		"no end":                  good[:len(good)-1],
		"text before":             append([]byte("\n"), good...),
		"text behind":             append(bytes.Clone(good), '\n'),
		"other line length":       []byte(sigBegin + strings.ReplaceAll(body, "\n", "") + "\n" + sigEnd),
		"CRLF":                    bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"no base64":               []byte(sigBegin + "!!!!\n" + sigEnd),
		"nothing inside":          []byte(sigBegin + sigEnd),
		"no magic":                armor([]byte("SSHSIX")),
		"short blob":              armor([]byte(sigMagic + "\x00\x00")),
		"trailing bytes":          armor(append(mustUnarmor(t, good), 0)),
		"version":                 blob(t, func(b *sigBlob) { b.Version = 2 }),
		"namespace":               blob(t, func(b *sigBlob) { b.Namespace = "git" }),
		"reserved":                blob(t, func(b *sigBlob) { b.Reserved = "x" }),
		"hash":                    blob(t, func(b *sigBlob) { b.Hash = "sha256" }),
		"no key":                  blob(t, func(b *sigBlob) { b.PublicKey = nil }),
		"key of a lying length":   blob(t, func(b *sigBlob) { b.PublicKey = []byte{255, 255, 255, 255, 1} }),
		"RSA":                     blob(t, func(b *sigBlob) { b.PublicKey = rsa.PublicKey().Marshal() }),
		"ECDSA":                   blob(t, func(b *sigBlob) { b.PublicKey = ecdsa.PublicKey().Marshal() }),
		"certificate by ECDSA":    blob(t, func(b *sigBlob) { b.PublicKey = certify(t, ecdsa, "a", nil).PublicKey().Marshal() }),
		"key with bytes behind":   blob(t, func(b *sigBlob) { b.PublicKey = append(b.PublicKey, 0) }),
		"no signature":            blob(t, func(b *sigBlob) { b.Signature = nil }),
		"signature of other kind": blob(t, func(b *sigBlob) { b.Signature = ssh.Marshal(ssh.Signature{Format: "ssh-rsa", Blob: []byte("x")}) }),
		"signature with a rest":   blob(t, func(b *sigBlob) { b.Signature = append(b.Signature, 0) }),
	} {
		t.Run(name, func(t *testing.T) {
			sig, err := parseSignature(text)
			require.Error(t, err)
			require.Nil(t, sig)
		})
	}
}

func mustUnarmor(t testing.TB, text []byte) []byte {
	t.Helper()
	b, err := unarmor(text)
	require.NoError(t, err)
	return b
}

// Base64 has spare bits in its last character: they must be zero, or one
// signature has many spellings.
func TestArmorHasOneSpelling(t *testing.T) {
	b := []byte("SSHSIG+")
	text := base64.StdEncoding.EncodeToString(b)
	require.True(t, strings.HasSuffix(text, "w=="))
	_, err := unarmor([]byte(sigBegin + strings.Replace(text, "w==", "x==", 1) + "\n" + sigEnd))
	require.Error(t, err)
}
