package otlpsend

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"
)

// endOf keeps when a server's certificate ends.
type endOf struct {
	unix atomic.Int64 // 0: not known
}

// saw takes note of a handshake. One that failed because of the certificate
// tells its end all the same: of an expired one above all.
func (e *endOf) saw(state tls.ConnectionState, err error) {
	certs := state.PeerCertificates
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		certs = unverified.UnverifiedCertificates
	}
	e.store(certs)
}

func (e *endOf) store(certs []*x509.Certificate) {
	if len(certs) > 0 {
		e.unix.Store(certs[0].NotAfter.Unix())
	}
}

// NotAfter implements Client.
func (e *endOf) NotAfter() time.Time {
	if at := e.unix.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}
