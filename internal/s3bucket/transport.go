package s3bucket

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/dial"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

const (
	tlsTimeout    = 10 * time.Second
	answerTimeout = 30 * time.Second // from the last byte of the request to the first of the answer
	idleTimeout   = 60 * time.Second
	maxIdle       = 8 // connections kept for the next call
	maxHeader     = 64 << 10
)

// newTransport returns a transport that adds nothing of its own to a request.
func newTransport(cfg Config, d *dial.Dialer, roots *x509.CertPool) (*http.Transport, error) {
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
		DialContext:            d.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    tlsTimeout,
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
	fixed *http.Transport                // nil: with a ca_file
	file  *reload.Files[*http.Transport] // nil: without one
}

func newTransports(cfg Config) (*transports, error) {
	d := dial.New()
	d.Unproven = strings.HasPrefix(cfg.Endpoint, "http:") // S3 signs no answer
	fixed, err := newTransport(cfg, d, nil)
	if err != nil {
		return nil, err
	}
	if cfg.CAFile == "" {
		return &transports{fixed: fixed}, nil
	}
	return &transports{file: reload.File("ca_file", cfg.CAFile, func(pem []byte) (*http.Transport, error) {
		roots, err := parseRoots(pem)
		if err != nil {
			return nil, err
		}
		return newTransport(cfg, d, roots)
	})}, nil
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
