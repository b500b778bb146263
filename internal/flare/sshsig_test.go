package flare

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"slices"
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

// An extension that holds an empty string is read like one without a value, and the
// authority's signature would fit both.
func TestCertificateHasOneSpelling(t *testing.T) {
	cert := certSigner(t).PublicKey().Marshal()
	_, err := parseSignature(certified(t, cert))
	require.NoError(t, err)
	other := otherSpelling(t, cert)
	key, err := ssh.ParsePublicKey(other)
	require.NoError(t, err)
	require.Equal(t, cert, key.Marshal())
	_, err = parseSignature(certified(t, other))
	require.ErrorContains(t, err, "not spelled as ssh-keygen does")
}

// certified is a signature with a certificate of the certified key, as wire spells it.
func certified(t testing.TB, wire []byte) []byte {
	t.Helper()
	sig, err := certSigner(t).Sign(nil, signedBytes([]byte("manifest")))
	require.NoError(t, err)
	return blob(t, func(b *sigBlob) { b.PublicKey, b.Signature = wire, ssh.Marshal(sig) })
}

// otherSpelling spells out the empty value of the last extension of the published
// certificate.
func otherSpelling(t testing.TB, cert []byte) []byte {
	t.Helper()
	const last = "permit-user-rc"
	at := bytes.Index(cert, []byte(last)) + len(last)
	lengthAt := bytes.Index(cert, []byte("permit-X11-forwarding")) - 8
	require.Positive(t, lengthAt)
	other := slices.Concat(cert[:at], []byte{0, 0, 0, 4}, cert[at:]) // a value of four bytes: an empty string
	binary.BigEndian.PutUint32(other[lengthAt:], binary.BigEndian.Uint32(other[lengthAt:])+4)
	return other
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
