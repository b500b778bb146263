package flare

import (
	"bytes"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// Namespace is the SSHSIG namespace of flares: a signature that the same key
// made for git or for mail proves nothing here.
const Namespace = "flare@lifeline"

// The format is OpenSSH's PROTOCOL.sshsig, version 1, with SHA-512 and Ed25519
// only, in the armor that ssh-keygen writes.
const (
	sigMagic  = "SSHSIG"
	sigHash   = "sha512"
	sigBegin  = "-----BEGIN SSH SIGNATURE-----\n"
	sigEnd    = "-----END SSH SIGNATURE-----\n"
	sigColumn = 70
)

// sigBlob is what the armor holds, behind the magic.
type sigBlob struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  string
	Hash      string
	Signature []byte
}

// sigData is what the key signs, behind the magic.
type sigData struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    []byte
}

func signedBytes(message []byte) []byte {
	digest := sha512.Sum512(message)
	return append([]byte(sigMagic), ssh.Marshal(sigData{Namespace, "", sigHash, digest[:]})...)
}

// sign returns the armored signature of message.
func sign(signer ssh.Signer, message []byte) ([]byte, error) {
	sig, err := signer.Sign(rand.Reader, signedBytes(message))
	if err != nil {
		return nil, fmt.Errorf("sign the manifest: %w", err)
	}
	if sig.Format != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("sign the manifest: the key is %s, but only %s is allowed", sig.Format, ssh.KeyAlgoED25519)
	}
	blob := append([]byte(sigMagic), ssh.Marshal(sigBlob{
		1, signer.PublicKey().Marshal(), Namespace, "", sigHash, ssh.Marshal(sig),
	})...)
	return armor(blob), nil
}

func armor(blob []byte) []byte {
	text := base64.StdEncoding.EncodeToString(blob)
	out := []byte(sigBegin)
	for len(text) > 0 {
		n := min(sigColumn, len(text))
		out = append(append(out, text[:n]...), '\n')
		text = text[n:]
	}
	return append(out, sigEnd...)
}

func unarmor(text []byte) ([]byte, error) {
	body, ok := bytes.CutPrefix(text, []byte(sigBegin))
	body, ok2 := bytes.CutSuffix(body, []byte(sigEnd))
	if !ok || !ok2 {
		return nil, errors.New("no SSH signature armor")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(string(bytes.ReplaceAll(body, []byte("\n"), nil)))
	if err != nil {
		return nil, errors.New("the armor of the SSH signature is not base64")
	}
	if !bytes.Equal(armor(blob), text) { // one spelling only
		return nil, errors.New("the SSH signature is not armored as ssh-keygen does")
	}
	return blob, nil
}

// signature is a parsed, not yet verified SSHSIG signature.
type signature struct {
	key ssh.PublicKey // Ed25519, or a certificate of such a key by such a key
	sig *ssh.Signature
}

// parseSignature parses an armored signature of at most maxSignature bytes.
func parseSignature(text []byte) (*signature, error) {
	raw, err := unarmor(text)
	if err != nil {
		return nil, err
	}
	var blob sigBlob
	body, ok := bytes.CutPrefix(raw, []byte(sigMagic))
	if !ok || ssh.Unmarshal(body, &blob) != nil {
		return nil, errors.New("no SSHSIG blob")
	}
	switch {
	case blob.Version != 1:
		return nil, fmt.Errorf("SSHSIG version %d, not 1", blob.Version)
	case blob.Namespace != Namespace:
		return nil, fmt.Errorf("SSHSIG namespace %.40q, not %s", blob.Namespace, Namespace)
	case blob.Reserved != "" || blob.Hash != sigHash:
		return nil, fmt.Errorf("SSHSIG hash %.20q, not %s", blob.Hash, sigHash)
	}
	key, err := parsePublicKey(blob.PublicKey)
	if err != nil {
		return nil, err
	}
	sig := &ssh.Signature{}
	if err := ssh.Unmarshal(blob.Signature, sig); err != nil || sig.Format != ssh.KeyAlgoED25519 || len(sig.Rest) != 0 {
		return nil, errors.New("SSHSIG: not one Ed25519 signature")
	}
	return &signature{key, sig}, nil
}

// parsePublicKey accepts Ed25519 keys and their certificates, in the one spelling
// that marshals to the same bytes: the authority's signature is checked over those,
// not over what was read. The type is looked at first, so that no parser of another
// algorithm runs.
func parsePublicKey(wire []byte) (ssh.PublicKey, error) {
	var named struct {
		Algo string
		Rest []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(wire, &named); err != nil {
		return nil, errors.New("malformed public key")
	}
	algo := named.Algo
	if algo != ssh.KeyAlgoED25519 && algo != ssh.CertAlgoED25519v01 {
		return nil, fmt.Errorf("public key of type %.40q: only %s is allowed", algo, ssh.KeyAlgoED25519)
	}
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return nil, fmt.Errorf("malformed public key: %w", err)
	}
	if cert, ok := key.(*ssh.Certificate); ok && !isEd25519Cert(cert) {
		return nil, errors.New("a certificate must be of an Ed25519 key, by an Ed25519 key")
	}
	if !bytes.Equal(key.Marshal(), wire) {
		return nil, errors.New("the public key is not spelled as ssh-keygen does")
	}
	return key, nil
}

func isEd25519Cert(c *ssh.Certificate) bool {
	return c.Key.Type() == ssh.KeyAlgoED25519 && c.SignatureKey.Type() == ssh.KeyAlgoED25519
}

// verify checks the signature over message with its own key: whether that key
// is to be trusted is another question.
func (s *signature) verify(message []byte) error {
	key := s.key
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if err := key.Verify(signedBytes(message), s.sig); err != nil {
		return fmt.Errorf("the signature is not %s's over this manifest: %w", ssh.FingerprintSHA256(key), err)
	}
	return nil
}
