package flare

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Revoked is a revocation list. It wins over everything that trusts a key. It
// is immutable and safe for concurrent use; nil revokes nothing.
type Revoked struct {
	fingerprints map[string]bool // of a key, a certificate's key or an authority
	serials      map[string]bool // "<n> SHA256:<CA>"
	principals   map[string]bool
}

// Len returns the number of entries.
func (r *Revoked) Len() int {
	if r == nil {
		return 0
	}
	return len(r.fingerprints) + len(r.serials) + len(r.principals)
}

// ParseRevoked reads a revocation list. Each line is one of
//
//	SHA256:<fingerprint of a key, of a certificate's key or of an authority>
//	serial:<n> SHA256:<fingerprint of the authority>
//	principal:<name>
//
// The list may be empty. A line that could revoke nobody is an error: a name is
// exact, so a pattern or a comment behind it would match no principal.
func ParseRevoked(r io.Reader) (*Revoked, error) {
	list := &Revoked{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	if err := eachLine(r, maxTrustFile, list.add); err != nil {
		return nil, fmt.Errorf("revocation list: %w", err)
	}
	return list, nil
}

func (r *Revoked) add(line string) error {
	if name, ok := strings.CutPrefix(line, "principal:"); ok {
		if !exactName(name) {
			return fmt.Errorf("want principal:<one exact name>, not %.80q: no patterns, lists, blanks, quotes or comments", name)
		}
		r.principals[name] = true
		return nil
	}
	if isFingerprint(line) {
		r.fingerprints[line] = true
		return nil
	}
	if serial, ok := strings.CutPrefix(line, "serial:"); ok {
		number, ca, _ := cutField(serial)
		if n, err := strconv.ParseUint(number, 10, 64); err == nil && isFingerprint(ca) {
			r.serials[serialKey(n, ca)] = true
			return nil
		}
	}
	return errors.New("want SHA256:<fingerprint>, serial:<n> SHA256:<fingerprint of the authority> or principal:<name>")
}

func isFingerprint(s string) bool {
	digest, ok := strings.CutPrefix(s, "SHA256:")
	raw, err := base64.RawStdEncoding.Strict().DecodeString(digest)
	return ok && err == nil && len(raw) == 32
}

func serialKey(n uint64, ca string) string { return strconv.FormatUint(n, 10) + " " + ca }

// key reports whether key itself is revoked, or what certifies it.
func (r *Revoked) key(key ssh.PublicKey) bool {
	if r == nil {
		return false
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		return r.fingerprints[ssh.FingerprintSHA256(key)]
	}
	ca := ssh.FingerprintSHA256(cert.SignatureKey)
	return r.fingerprints[ssh.FingerprintSHA256(cert.Key)] || r.fingerprints[ca] || r.serials[serialKey(cert.Serial, ca)]
}

// principal reports whether name is revoked.
func (r *Revoked) principal(name string) bool { return r != nil && r.principals[name] }
