package flare

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// trusted is what the trust file says about a key.
type trusted struct {
	principal string
	lines     []signerLine     // those that name the key or its authority
	cert      *ssh.Certificate // nil for a plain key
}

var errUnknownSigner = errors.New("nobody in the allowed signers file has this key")

// find returns what the file says about key. It does not look at any time yet:
// the time of signing stands in the manifest, which nobody has verified so far.
func (s *Signers) find(key ssh.PublicKey) (*trusted, error) {
	if s == nil {
		return nil, errUnknownSigner
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok {
		lines := s.keys[string(key.Marshal())]
		if len(lines) == 0 {
			return nil, fmt.Errorf("%w: %s", errUnknownSigner, ssh.FingerprintSHA256(key))
		}
		return &trusted{principal: lines[0].principals, lines: lines}, nil
	}
	principal, err := certPrincipal(cert)
	if err != nil {
		return nil, err
	}
	t := &trusted{principal: principal, cert: cert}
	for _, line := range s.cas[string(cert.SignatureKey.Marshal())] {
		if matchList(line.principals, principal) {
			t.lines = append(t.lines, line)
		}
	}
	if len(t.lines) == 0 {
		return nil, fmt.Errorf("%w: certificate of %s by %s", errUnknownSigner, principal, ssh.FingerprintSHA256(cert.SignatureKey))
	}
	return t, nil
}

// certPrincipal returns the one name a certificate is for. A certificate for
// several names, or for all, would let its owner choose who it is.
func certPrincipal(cert *ssh.Certificate) (string, error) {
	if cert.CertType != ssh.UserCert || len(cert.ValidPrincipals) != 1 || !exactName(cert.ValidPrincipals[0]) {
		return "", errors.New("a certificate that signs flares must be a user certificate with exactly one principal: a name without patterns, blanks, quotes or #")
	}
	if len(cert.CriticalOptions) > 0 {
		return "", errors.New("the certificate has critical options, which mean nothing for flares")
	}
	return cert.ValidPrincipals[0], nil
}

// verify checks the authority's signature on the certificate, at a time when
// it is valid: the time is validAt's job.
func (t *trusted) verify() error {
	if t.cert == nil {
		return nil
	}
	valid := time.Unix(int64(min(t.cert.ValidAfter, 1<<62)), 0)
	checker := ssh.CertChecker{Clock: func() time.Time { return valid }}
	if err := checker.CheckCert(t.principal, t.cert); err != nil {
		return fmt.Errorf("certificate of %s: %w", t.principal, err)
	}
	return nil
}

// validAt reports whether the key was allowed to sign at created.
func (t *trusted) validAt(created time.Time) error {
	if t.cert != nil {
		now := uint64(max(created.Unix(), 0))
		if now < t.cert.ValidAfter || t.cert.ValidBefore != ssh.CertTimeInfinity && now >= t.cert.ValidBefore {
			return fmt.Errorf("the certificate of %s was not valid at %s", t.principal, created.Format(time.RFC3339))
		}
	}
	for _, line := range t.lines {
		if line.validAt(created) {
			return nil
		}
	}
	return fmt.Errorf("the allowed signers file did not let %s sign at %s", t.principal, created.Format(time.RFC3339))
}

// Tenant returns the tenant of a principal `<tenant>/<agent>`; the whole
// principal if it has no slash.
func Tenant(principal string) string {
	for i := range len(principal) {
		if principal[i] == '/' {
			return principal[:i]
		}
	}
	return principal
}
