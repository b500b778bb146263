package e2e

import (
	"crypto/tls"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/internal/certtest"
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
	first := certtest.NewAuthority(t, "first")
	r.issue(first, "tls.pem", "gateway")
	r.issue(first, "client.pem", "host-17")
	r.replace("ca.pem", string(first.PEM))
	r.keygen("receipt", "receipt-1", "--id", "k1")
	r.replace("receipts-gateway", r.read("receipt-1"))
	r.replace("receipts-agent", r.read("receipt-1"))
	s.Gateway.Configs = append(s.Gateway.Configs,
		"yaml:receivers::lifeline::receipt_key_file: "+r.Path("keys", "receipts-gateway"),
		"yaml:receivers::lifeline::protocols::http::tls: {reload_interval: 1ms, cert_file: "+r.Path("keys", "tls.pem")+", key_file: "+r.Path("keys", "tls.pem")+", client_ca_file: "+r.Path("keys", "ca.pem")+", client_ca_file_reload: true}")
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_GATEWAY=https://"+s.Addr.GatewayHTTP, "LIFELINE_SCRAPE_INTERVAL=1s")
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
		// Too soon: the gateway signs with a key that the agent has not got. It may take a
		// second to see the key; by then the agent has sent something of its own.
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
		before := r.served(first)
		r.issue(first, "tls.pem", "gateway")
		require.NotEqual(t, before, r.served(first), "taken without a restart")
		r.flow()
	})
	t.Run("an agent's certificate", func(t *testing.T) {
		r.t = t
		require.Equal(t, "host-17", r.lastAgent())
		r.issue(first, "client.pem", "host-17-anew")
		require.NoError(t, s.Gateway.Stop(r.ctx)) // as in any update: connections begin anew
		require.NoError(t, s.Gateway.Start(r.ctx))
		r.flow()
		require.Equal(t, "host-17-anew", r.lastAgent())
	})
	t.Run("authority", func(t *testing.T) {
		r.t = t
		second := certtest.NewAuthority(t, "second")
		r.replace("ca.pem", string(first.PEM), string(second.PEM))
		r.restartAgent()
		r.issue(second, "tls.pem", "gateway")
		r.issue(second, "client.pem", "host-17-of-the-second")
		r.served(second)
		r.flow()
		r.replace("ca.pem", string(second.PEM))
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
func (r *rotation) issue(a *certtest.Authority, file, name string) {
	r.t.Helper()
	cert, key := a.Issue(name)
	r.replace(file, string(cert), string(key))
}

// served returns the serial number of the certificate that a new connection to
// the gateway gets. It has to be the authority's.
func (r *rotation) served(a *certtest.Authority) string {
	r.t.Helper()
	d := tls.Dialer{Config: &tls.Config{RootCAs: a.Roots(), MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(r.ctx, "tcp", r.Addr.GatewayHTTP)
	require.NoError(r.t, err)
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}
