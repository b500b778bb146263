package s3bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/reload"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second // from the last byte of the request to the first of the answer
	idleTimeout   = 60 * time.Second
	maxIdle       = 8 // connections kept for the next call
	maxHeader     = 64 << 10
)

// newTransport returns a transport that adds nothing of its own to a request.
func newTransport(cfg Config, d *dialer, roots *x509.CertPool) (*http.Transport, error) {
	proxy := http.ProxyFromEnvironment
	if cfg.ProxyURL != "" {
		u, err := url.Parse(cfg.ProxyURL)
		if err != nil {
			return nil, err
		}
		proxy = http.ProxyURL(u)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // what S3 speaks
	return &http.Transport{
		Proxy:                  proxy,
		DialContext:            d.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    dialTimeout,
		ResponseHeaderTimeout:  answerTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true, // else Accept-Encoding is sent
		Protocols:              protocols,
	}, nil
}

// transports hands out the transport for the root certificates in force.
type transports struct {
	fixed *http.Transport               // nil: with a ca_file
	file  *reload.File[*http.Transport] // nil: without one
}

func newTransports(cfg Config) (*transports, error) {
	d := newDialer()
	fixed, err := newTransport(cfg, d, nil)
	if err != nil {
		return nil, err
	}
	if cfg.CAFile == "" {
		return &transports{fixed: fixed}, nil
	}
	return &transports{file: &reload.File[*http.Transport]{Key: "ca_file", Path: cfg.CAFile, Parse: func(pem []byte) (*http.Transport, error) {
		roots, err := parseRoots(pem)
		if err != nil {
			return nil, err
		}
		return newTransport(cfg, d, roots)
	}}}, nil
}

// RoundTrip implements http.RoundTripper with the transport in force.
func (t *transports) RoundTrip(req *http.Request) (*http.Response, error) {
	rt, err := t.get()
	if err != nil {
		return nil, err
	}
	return rt.RoundTrip(req)
}

func (t *transports) get() (*http.Transport, error) {
	if t.file == nil {
		return t.fixed, nil
	}
	return t.file.Get()
}

// check says what is wrong with the ca_file as it is now.
func (t *transports) check() error {
	if t.file == nil {
		return nil
	}
	return t.file.Check()
}

func (t *transports) close() {
	if rt, err := t.get(); err == nil {
		rt.CloseIdleConnections()
	}
}

func parseRoots(pem []byte) (*x509.CertPool, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate found; expected PEM")
	}
	return roots, nil
}

// maxRemembered bounds the addresses kept for a name.
const maxRemembered = 4

// dialer dials like net.Dialer and remembers the addresses that answered: when
// a name does not resolve any more they are tried, latest first. TLS still
// checks the name.
type dialer struct {
	dialOnce func(ctx context.Context, network, addr string) (net.Conn, error)

	mu sync.Mutex
	// mu guards the following.
	worked map[string][]string // host:port to addresses
}

func newDialer() *dialer {
	d := &net.Dialer{Timeout: dialTimeout}
	return &dialer{dialOnce: d.DialContext, worked: map[string][]string{}}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.dialOnce(ctx, network, addr)
	if err == nil {
		d.remember(addr, conn.RemoteAddr().String())
		return conn, nil
	}
	if _, unresolved := errors.AsType[*net.DNSError](err); !unresolved {
		return nil, err
	}
	for _, known := range d.known(addr) {
		conn, again := d.dialOnce(ctx, network, known)
		if again == nil {
			d.remember(addr, known)
			return conn, nil
		}
		err = errors.Join(err, again)
	}
	return nil, err
}

func (d *dialer) known(addr string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.worked[addr])
}

// remember puts known in front of the addresses of addr.
func (d *dialer) remember(addr, known string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := slices.DeleteFunc(d.worked[addr], func(a string) bool { return a == known })
	all := append([]string{known}, rest...)
	d.worked[addr] = all[:min(len(all), maxRemembered)]
}
