package flare

import (
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// ErrFIPS is returned where age's algorithms would be used under
// GODEBUG=fips140=only: they are not among those it allows.
var ErrFIPS = errors.New("flares use X25519 and ChaCha20-Poly1305, which GODEBUG=fips140=only forbids: run with fips140=on or off")

// CheckFIPS returns ErrFIPS if the process may not use age. Programs that seal
// or open flares call it at start.
func CheckFIPS() error {
	if fips140.Enforced() {
		return ErrFIPS
	}
	return nil
}

// ParseRecipients reads a recipients file: one native age recipient (age1pq1...
// or age1...) per line, empty lines and # comments aside. All must be of one
// kind: a classic one beside post-quantum ones would undo their protection.
// There must be two to 16, different ones: recovery's and a break-glass key kept
// offline; with allowSingle one is enough.
func ParseRecipients(r io.Reader, allowSingle bool) ([]age.Recipient, error) {
	if err := CheckFIPS(); err != nil {
		return nil, err
	}
	var list []age.Recipient
	seen := map[string]bool{}
	kinds := map[bool]bool{}
	err := eachLine(r, maxKeyFile, func(line string) error {
		recipient, hybrid, err := parseRecipient(line)
		if err != nil {
			return err
		}
		if seen[line] {
			return errors.New("this recipient stands twice")
		}
		seen[line], kinds[hybrid] = true, true
		if len(kinds) > 1 {
			return errors.New("post-quantum (age1pq1...) and classic (age1...) recipients are mixed: use one kind for all")
		}
		list = append(list, recipient)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("recipients: %w", err)
	case len(list) == 0:
		return nil, errors.New("recipients: the file is empty: make a key with `lifeline keygen recovery` and put its public key here")
	case len(list) == 1 && !allowSingle:
		return nil, errors.New("recipients: only one: add an offline break-glass key, or set allow_single_recipient")
	case len(list) > maxStanzas:
		return nil, fmt.Errorf("recipients: %d, more than %d", len(list), maxStanzas)
	}
	return list, nil
}

func parseRecipient(line string) (_ age.Recipient, hybrid bool, err error) {
	switch {
	case strings.HasPrefix(line, "AGE-SECRET-KEY-"):
		return nil, false, errors.New("this is a secret key: it must not be on an agent; put its public key here")
	case strings.HasPrefix(line, "age1pq1"):
		recipient, err := age.ParseHybridRecipient(line)
		if err != nil {
			return nil, false, errors.New("malformed age1pq1 recipient")
		}
		return recipient, true, nil
	case strings.HasPrefix(line, "age1"):
		recipient, err := age.ParseX25519Recipient(line)
		if err != nil {
			return nil, false, errors.New("neither an age1 nor an age1pq1 recipient: plugins cannot be used")
		}
		return recipient, false, nil
	}
	return nil, false, errors.New("want age1pq1... or age1...: SSH keys and plugins cannot be used")
}

// ParseIdentities reads an identity file as `lifeline keygen recovery` and
// age-keygen write it: one or more native secret keys. Errors never quote it.
func ParseIdentities(r io.Reader) ([]age.Identity, error) {
	if err := CheckFIPS(); err != nil {
		return nil, err
	}
	var list []age.Identity
	err := eachLine(r, maxKeyFile, func(line string) error {
		var id age.Identity
		var err error
		if strings.HasPrefix(line, "AGE-SECRET-KEY-PQ-1") {
			id, err = age.ParseHybridIdentity(line)
		} else {
			id, err = age.ParseX25519Identity(line)
		}
		if err != nil {
			return errors.New("not an AGE-SECRET-KEY-PQ-1 or AGE-SECRET-KEY-1 identity")
		}
		list = append(list, id)
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("identities: %w", err)
	case len(list) == 0:
		return nil, errors.New("identities: the file is empty: make a key with `lifeline keygen recovery`")
	case len(list) > maxStanzas:
		return nil, fmt.Errorf("identities: %d, more than %d", len(list), maxStanzas)
	}
	return list, nil
}

// ParseSigner reads an agent's signing key: an OpenSSH private key, Ed25519,
// without a passphrase. cert is the certificate beside it in authorized_keys
// form, or empty.
func ParseSigner(pem, cert []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(pem)
	if _, ok := errors.AsType[*ssh.PassphraseMissingError](err); ok {
		return nil, errors.New("signing key: it has a passphrase, which an agent cannot type: use a key without one")
	}
	if err != nil {
		return nil, errors.New("signing key: not an OpenSSH private key: make one with `lifeline keygen agent`")
	}
	if signer.PublicKey().Type() != ssh.KeyAlgoED25519 {
		return nil, fmt.Errorf("signing key: %s cannot be used: it must be Ed25519", signer.PublicKey().Type())
	}
	if !wholeKey(signer) {
		return nil, errors.New("signing key: the file is damaged, its secret and its public half do not belong together: restore it, or make one with `lifeline keygen agent`")
	}
	if len(cert) == 0 {
		return signer, nil
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(cert)
	if err != nil {
		return nil, errors.New("signing certificate: malformed")
	}
	c, ok := public.(*ssh.Certificate)
	if !ok || !isEd25519Cert(c) {
		return nil, errors.New("signing certificate: must be an OpenSSH certificate of an Ed25519 key, by an Ed25519 authority")
	}
	if _, err := certPrincipal(c); err != nil {
		return nil, fmt.Errorf("signing certificate: %w", err)
	}
	signer, err = ssh.NewCertSigner(c, signer)
	if err != nil {
		return nil, errors.New("signing certificate: it is not of this signing key")
	}
	return signer, nil
}

// wholeKey reports whether what signer signs is its public key's: parsing does
// not compare the halves of a key file.
func wholeKey(signer ssh.Signer) bool {
	probe := []byte(Namespace)
	sig, err := signer.Sign(rand.Reader, probe)
	return err == nil && signer.PublicKey().Verify(probe, sig) == nil
}

// SignerPrincipal returns the principal and the end of validity of signer's
// certificate: zero if it has none, or if it is valid for ever.
func SignerPrincipal(signer ssh.Signer) (principal string, notAfter time.Time) {
	cert, ok := signer.PublicKey().(*ssh.Certificate)
	if !ok || len(cert.ValidPrincipals) == 0 {
		return "", time.Time{}
	}
	if cert.ValidBefore < 1<<62 {
		notAfter = time.Unix(int64(cert.ValidBefore), 0).UTC()
	}
	return cert.ValidPrincipals[0], notAfter
}

// Key returns the object key of a flare.
func Key(prefix, id string) string { return prefix + id + ".age" }

// KeyID returns the flare id in an object key: the prefix, at most one folder of
// 1 to 32 of [a-z0-9-], 32 hex digits and ".age". It reports false for any other
// key.
func KeyID(prefix, key string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return "", false
	}
	rest, ok = strings.CutSuffix(rest, ".age")
	if !ok {
		return "", false
	}
	folder, name, found := strings.Cut(rest, "/")
	if !found {
		return rest, frame.IsHex32(rest)
	}
	if folder == "" || len(folder) > 32 || strings.Trim(folder, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return "", false
	}
	return name, frame.IsHex32(name)
}
