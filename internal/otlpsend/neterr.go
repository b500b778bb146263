package otlpsend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
)

// NetworkAnswer says what an error of the network, without an answer, means: the
// path is down. It is a pure function but for looking at ctx, whose end explains
// every other error. A cancelled attempt has no cause, because nobody but the
// caller ended it.
func NetworkAnswer(ctx context.Context, err error) Answer {
	if ctxErr := ctx.Err(); ctxErr != nil {
		a := Answer{Verdict: Down, Err: err}
		if errors.Is(ctxErr, context.DeadlineExceeded) {
			a.Cause = CauseTimeout
		}
		return a
	}
	cause := networkCause(err)
	if cause == CauseNotAnAck {
		return Answer{Verdict: Broken, Cause: cause, Err: err}
	}
	return Answer{Verdict: Down, Cause: cause, Err: err}
}

// networkCause knows the errors of net, crypto/tls and net/http. What it does
// not know broke the connection one way or another: refused.
func networkCause(err error) Cause {
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "proxyconnect" || op.Op == "socks connect") || isConnectRefusal(err) {
		return CauseProxy
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return CauseDNS
	}
	if cause := tlsCause(err); cause != CauseNone {
		return cause
	}
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return CauseTimeout
	}
	if strings.Contains(err.Error(), "malformed HTTP") {
		return CauseNotAnAck
	}
	return CauseRefused
}

// tlsCause returns CauseNone for an error that is none of TLS. An alert of the
// server has no exported type; "expired certificate" is about ours.
func tlsCause(err error) Cause {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return CauseTLSExpired
	}
	text := " " + err.Error()
	if strings.Contains(text, "tls: expired certificate") {
		return CauseTLSExpired
	}
	_, verify := errors.AsType[*tls.CertificateVerificationError](err)
	_, record := errors.AsType[tls.RecordHeaderError](err)
	if verify || record || errors.Is(err, http.ErrSchemeMismatch) || strings.Contains(text, " tls: ") || strings.Contains(text, " x509: ") {
		return CauseTLSOther
	}
	return CauseNone
}

// isConnectRefusal recognises a proxy's refusal of CONNECT: net/http reports it
// as nothing but the text of the status.
func isConnectRefusal(err error) bool {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	for status := 300; status < 600; status++ {
		if text := http.StatusText(status); text != "" && err.Error() == text {
			return true
		}
	}
	return false
}
