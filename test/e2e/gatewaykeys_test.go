package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// TestRotationOfTheGatewaysKeys replaces receipt keys and the certificates of the
// gateway and the agent while data goes through the gateway, and then their
// authority, for which agents have to be restarted. Nothing is lost and nothing is flared.
func TestRotationOfTheGatewaysKeys(t *testing.T) {
	s := newStack(t)
	r := &rotation{Stack: s, t: t, ctx: env.Within(t, 3*time.Minute)}
	first := newAuthority(t, "first")
	first.issue(r, "tls.pem", "gateway")
	first.issue(r, "client.pem", "host-17")
	r.replace("ca.pem", first.pem)
	r.keygen("receipt", "receipt-1", "--id", "k1")
	r.replace("receipts-gateway", r.read("receipt-1"))
	r.replace("receipts-agent", r.read("receipt-1"))
	s.Gateway.Configs = append(s.Gateway.Configs,
		"yaml:receivers::lifeline::receipt_key_file: "+r.Path("keys", "receipts-gateway"),
		"yaml:receivers::lifeline::protocols::http::tls: {reload_interval: 1ms, cert_file: "+r.Path("keys", "tls.pem")+", key_file: "+r.Path("keys", "tls.pem")+", client_ca_file: "+r.Path("keys", "ca.pem")+", client_ca_file_reload: true}")
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_GATEWAY=https://"+s.Addr.GatewayHTTP, "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Agent.Configs = append(s.Agent.Configs, quickly,
		"yaml:exporters::lifeline::receipt_key_file: "+r.Path("keys", "receipts-agent"),
		"yaml:exporters::lifeline::http::tls: {reload_interval: 1ms, cert_file: "+r.Path("keys", "client.pem")+", key_file: "+r.Path("keys", "client.pem")+", ca_file: "+r.Path("keys", "ca.pem")+"}")
	for _, role := range []*stack.Role{s.Gateway, s.Agent} {
		require.NoError(t, role.Start(r.ctx))
	}
	r.flow()

	t.Run("receipt key", func(t *testing.T) {
		r.t = t
		r.keygen("receipt", "receipt-2", "--id", "k2")
		old, next := r.read("receipt-1"), r.read("receipt-2")
		// Too soon: the gateway signs with a key that the agent has not got.
		r.replace("receipts-gateway", next, old)
		r.says(s.Agent.P, r.send, "The gateway does not take data", "not_an_ack", "receipt")
		r.says(s.Agent.P, func() { r.replace("receipts-agent", old, next) }, "The gateway takes data.")
		r.flow()
		r.replace("receipts-gateway", next)
		r.flow()
		r.replace("receipts-agent", next)
		r.flow()
	})
	t.Run("certificate", func(t *testing.T) {
		r.t = t
		before := first.served(r)
		first.issue(r, "tls.pem", "gateway")
		require.NotEqual(t, before, first.served(r), "taken without a restart")
		r.flow()
	})
	t.Run("an agent's certificate", func(t *testing.T) {
		r.t = t
		require.Equal(t, "host-17", r.lastAgent())
		first.issue(r, "client.pem", "host-17-anew")
		require.NoError(t, s.Gateway.Stop(r.ctx)) // as in any update: connections begin anew
		require.NoError(t, s.Gateway.Start(r.ctx))
		r.flow()
		require.Equal(t, "host-17-anew", r.lastAgent())
	})
	t.Run("authority", func(t *testing.T) {
		r.t = t
		second := newAuthority(t, "second")
		r.replace("ca.pem", first.pem, second.pem)
		r.restartAgent()
		second.issue(r, "tls.pem", "gateway")
		second.issue(r, "client.pem", "host-17-of-the-second")
		second.served(r)
		r.flow()
		r.replace("ca.pem", second.pem)
		r.restartAgent()
		require.Equal(t, "host-17-of-the-second", r.lastAgent())
	})
	m, err := s.Agent.Scrape(r.ctx)
	require.NoError(t, err)
	require.Zero(t, m.Sum("otelcol_lifeline_lost_items")+m.Sum("otelcol_lifeline_flared_items"))
}

// restartAgent stops the agent with data in its ring, and starts it again.
func (r *rotation) restartAgent() {
	r.t.Helper()
	r.send()
	require.NoError(r.t, r.Agent.Stop(r.ctx))
	require.NoError(r.t, r.Agent.Start(r.ctx))
	r.flow()
}

// authority issues certificates for the gateway.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, key: newECDSA(t)}
	der, err := x509.CreateCertificate(rand.Reader, certificate(name, true), certificate(name, true), a.key.Public(), a.key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func newECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func certificate(name string, ca bool) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// lastAgent returns whose client certificate the gateway saw with the newest
// record, by its time.
func (r *rotation) lastAgent() string {
	r.t.Helper()
	records, err := r.Kafka.Read(r.ctx)
	require.NoError(r.t, err)
	require.NotEmpty(r.t, records)
	newest := slices.MaxFunc(records, func(a, b *kgo.Record) int { return a.Timestamp.Compare(b.Timestamp) })
	return kafka.Header(newest, frame.HeaderAgent)
}

// issue puts a new key and certificate in place. They stand in one file: two
// might be read between their renames.
func (a *authority) issue(r *rotation, file, name string) {
	r.t.Helper()
	key := newECDSA(r.t)
	der, err := x509.CreateCertificate(rand.Reader, certificate(name, false), a.cert, key.Public(), a.key)
	require.NoError(r.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(r.t, err)
	r.replace(file,
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// served returns the serial number of the certificate that a new connection to
// the gateway gets. It has to be the authority's.
func (a *authority) served(r *rotation) string {
	r.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	d := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(r.ctx, "tcp", r.Addr.GatewayHTTP)
	require.NoError(r.t, err)
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}
