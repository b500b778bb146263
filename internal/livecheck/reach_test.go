package livecheck

import (
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"

	"github.com/otel-lifeline/lifeline/internal/certtest"
)

// serve starts a TLS server whose certificate ends at that time, and returns its
// address and the file of its authority.
func serve(t *testing.T, end time.Time) (addr, ca string) {
	t.Helper()
	cert, ca := certtest.Self(t, "127.0.0.1", end)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
	})
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context()) // the client judges
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String(), ca
}

// The first feared mistake: a certificate that nobody renewed. It is a fault once
// it is too late and a warning before that, over both transports.
func TestCertificates(t *testing.T) {
	for name, tc := range map[string]struct {
		end  time.Duration
		want string
		of   func(*Report) []string
	}{
		"ended": {-time.Hour, "; renew the certificate", func(r *Report) []string { return r.Faults }},
		"soon":  {48 * time.Hour, "renew it now", func(r *Report) []string { return r.Warnings }},
		"good":  {90 * 24 * time.Hour, "is good until", func(r *Report) []string { return r.Proven }},
	} {
		t.Run(name, func(t *testing.T) {
			addr, ca := serve(t, time.Now().Add(tc.end))
			overHTTP, overGRPC := confighttp.NewDefaultClientConfig(), configgrpc.NewDefaultClientConfig()
			overHTTP.Endpoint, overHTTP.TLS.CAFile = "https://"+addr, ca
			overGRPC.Endpoint, overGRPC.TLS.CAFile = addr, ca
			for _, server := range []target{{http: &overHTTP}, {grpc: &overGRPC}} {
				r := &Report{}
				r.server(t.Context(), "exporters::lifeline", server)
				require.Len(t, tc.of(r), 1)
				require.Contains(t, tc.of(r)[0], tc.want)
				require.Equal(t, 1, len(r.Faults)+len(r.Warnings)+len(r.Proven))
			}
		})
	}
}

// A certificate of nobody we know, and a proxy in between.
func TestServersThatCanNotBeJudged(t *testing.T) {
	addr, _ := serve(t, time.Now().Add(time.Hour))
	overHTTP := confighttp.NewDefaultClientConfig()
	overHTTP.Endpoint = "https://" + addr
	r := &Report{}
	r.server(t.Context(), "exporters::lifeline", target{http: &overHTTP})
	require.Len(t, r.Faults, 1)
	require.Contains(t, r.Faults[0], "tls::ca_file")

	overHTTP.ProxyURL = "http://proxy.example.com:3128"
	r = &Report{}
	r.server(t.Context(), "exporters::lifeline", target{http: &overHTTP})
	require.Empty(t, r.Faults)
	require.Len(t, r.Open, 1)
}

func TestSharedPlaces(t *testing.T) {
	gateway := place{at: "exporters::lifeline", host: "gw.acme.com", domain: "acme.com", ips: []string{"192.0.2.1"}}
	for name, tc := range map[string]struct {
		bucket place
		want   string
	}{
		"address": {place{at: "b", host: "s3.example.net", domain: "example.net", ips: []string{"192.0.2.9", "192.0.2.1"}}, "the address 192.0.2.1"},
		"host":    {place{at: "b", host: "gw.acme.com", domain: "acme.com"}, "the host gw.acme.com"},
		"domain":  {place{at: "b", host: "s3.acme.com", domain: "acme.com", ips: []string{"192.0.2.2"}}, "the domain acme.com"},
		"nothing": {place{at: "b", host: "s3.example.net", domain: "example.net", ips: []string{"192.0.2.2"}}, ""},
		"unknown": {place{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Report{}
			r.shared([]place{gateway, tc.bucket})
			if tc.want == "" {
				require.Empty(t, r.Warnings)
				return
			}
			require.Len(t, r.Warnings, 1)
			require.Contains(t, r.Warnings[0], "b: it shares "+tc.want+" with exporters::lifeline")
		})
	}
}

// Two customers of one cloud share no domain that one of them pays for.
func TestDomains(t *testing.T) {
	require.Equal(t, "acme.com", domainOf("gateway.eu.acme.com"))
	require.NotEqual(t, domainOf("x.s3.eu-west-1.amazonaws.com"), domainOf("y.s3.us-east-1.amazonaws.com"))
	require.Empty(t, domainOf("localhost"))
}
