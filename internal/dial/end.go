package dial

import (
	"crypto/tls"
	"time"
)

// FirstEnd returns when the first certificate of the other side's chain ends, the
// zero time if it showed none.
func FirstEnd(state tls.ConnectionState) (end time.Time) {
	for _, cert := range state.PeerCertificates {
		if end.IsZero() || cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}
