package livecheck

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"golang.org/x/net/publicsuffix"

	"github.com/otel-lifeline/lifeline/internal/dial"
)

// soon is when the end of a certificate is worth a word.
const soon = 14 * day

// target is an OTLP server: one of the two is set.
type target struct {
	http *confighttp.ClientConfig
	grpc *configgrpc.ClientConfig
}

// address returns where to connect and with which TLS; nil for none. A proxy
// stands between us and what to look at.
func (t target) address(ctx context.Context) (addr string, secure *tls.Config, err error) {
	if t.grpc != nil {
		addr = t.grpc.Endpoint
		if _, rest, found := strings.Cut(addr, "://"); found {
			addr = strings.TrimPrefix(rest, "/")
		}
		secure, err = t.grpc.TLS.LoadTLSConfig(ctx)
		if secure == nil && err == nil && strings.HasPrefix(t.grpc.Endpoint, "https://") {
			secure = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		return addr, secure, err
	}
	if t.http.ProxyURL != "" {
		return "", nil, errProxy
	}
	u, err := url.Parse(t.http.Endpoint)
	if err != nil {
		return "", nil, err
	}
	port := map[bool]string{true: "443", false: "80"}[u.Scheme == "https"]
	addr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	if u.Scheme != "https" {
		return addr, nil, nil
	}
	if secure, err = t.http.TLS.LoadTLSConfig(ctx); secure == nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return addr, secure, err
}

var errProxy = errors.New("it is reached through a proxy")

// server connects to an OTLP server as far as its certificate, and says no word
// of OTLP: that would be telemetry.
func (r *Report) server(ctx context.Context, at string, t target) place {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	addr, secure, err := t.address(ctx)
	if errors.Is(err, errProxy) {
		r.open(at, "the server, because it is reached through a proxy")
		return place{}
	}
	if err != nil {
		r.fault(at, "%v", err)
		return place{}
	}
	end, err := connect(ctx, addr, secure)
	if err != nil {
		r.fault(at, "%s: %v; %s", addr, err, remedy(err, "check endpoint, firewall and whether the server runs"))
		return placeOf(ctx, at, addr)
	}
	r.certificate(at, addr, end)
	return placeOf(ctx, at, addr)
}

// certificate tells of a connection that was made just now when the certificate
// of the other side ends; the zero time: there is none.
func (r *Report) certificate(at, addr string, end time.Time) {
	switch {
	case end.IsZero():
		r.proven(at, "%s takes connections, without TLS", addr)
	case time.Until(end) < soon:
		r.warn(at, "the certificate of %s ends on %s: renew it now", addr, end.UTC().Format(time.DateOnly))
	default:
		r.proven(at, "%s takes connections; its certificate is good until %s", addr, end.UTC().Format(time.DateOnly))
	}
}

// connect returns when the certificate ends, the zero time without TLS.
func connect(ctx context.Context, addr string, secure *tls.Config) (time.Time, error) {
	if secure == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return time.Time{}, err
		}
		return time.Time{}, conn.Close()
	}
	conn, err := (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return time.Time{}, err
	}
	return dial.FirstEnd(conn.(*tls.Conn).ConnectionState()), conn.Close()
}

// remedy says what to do about a connection that was not made; otherwise is for
// what is not about names and certificates.
func remedy(err error, otherwise string) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "check the name: is its domain paid for, and not parked?"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "renew the certificate"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "check tls::ca_file, and that the certificate is for this name"
	}
	return otherwise
}

// place is where a name leads.
type place struct {
	at, host string
	domain   string // what somebody registered and pays for; "" for an address
	ips      []string
}

func placeOf(ctx context.Context, at, addr string) place {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	p := place{at: at, host: strings.ToLower(host)}
	if net.ParseIP(host) != nil {
		p.ips = []string{host}
		return p
	}
	p.domain = domainOf(p.host)
	p.ips, _ = net.DefaultResolver.LookupHost(ctx, host) // what does not resolve was told by others
	return p
}

// domainOf returns the part of a name that somebody registered, "" if there is none.
func domainOf(host string) string {
	domain, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return ""
	}
	return domain
}

// shared warns of what places have in common: it fails for all of them at once.
func (r *Report) shared(places []place) {
	places = slices.DeleteFunc(places, func(p place) bool { return p.host == "" })
	for i, a := range places {
		for _, b := range places[i+1:] {
			if what := a.common(b); what != "" {
				r.warn(b.at, "it shares %s with %s: one failure takes both; put the fallback elsewhere", what, a.at)
			}
		}
	}
}

func (p place) common(q place) string {
	for _, ip := range p.ips {
		if slices.Contains(q.ips, ip) {
			return "the address " + ip
		}
	}
	switch {
	case p.host == q.host:
		return "the host " + p.host
	case p.domain != "" && p.domain == q.domain:
		return fmt.Sprintf("the domain %s", p.domain)
	}
	return ""
}
