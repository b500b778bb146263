package e2e

import (
	"context"
	"crypto/rand"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// rotation is a deployment that runs while its keys are replaced. Data goes in
// at every step, and at any time all of it must come out.
type rotation struct {
	*stack.Stack
	t    *testing.T
	ctx  context.Context
	sent [][]byte // requests the agent accepted
}

// send lets the agent accept a few requests.
func (r *rotation) send() {
	r.t.Helper()
	for range 3 {
		request := stack.Spans(uint64(len(r.sent)), time.Now())
		status, body, err := stack.Post(r.ctx, r.Addr.AgentHTTP, frame.Traces, request)
		require.NoError(r.t, err)
		require.Equal(r.t, http.StatusOK, status, string(body))
		r.sent = append(r.sent, request)
	}
}

// arrived waits until everything that was ever accepted stands in Kafka.
func (r *rotation) arrived() {
	r.t.Helper()
	var l audit.Ledger
	for _, request := range r.sent {
		require.NoError(r.t, l.Accept(frame.Traces, request))
	}
	row, err := kafka.Await(r.ctx, r.Brokers, frame.Traces, &l)
	require.NoError(r.t, err)
	require.True(r.t, row.OK(), "%+v", row)
	require.Equal(r.t, row.Duplicates, row.Marked)
}

// flow sends and waits until all arrived.
func (r *rotation) flow() {
	r.t.Helper()
	r.send()
	r.arrived()
}

// replace puts a new version of a key file in place, at once.
func (r *rotation) replace(name string, lines ...string) {
	r.t.Helper()
	path := r.Path("keys", name)
	require.NoError(r.t, os.WriteFile(path+".new", []byte(strings.Join(lines, "")), 0o600))
	require.NoError(r.t, os.Rename(path+".new", path))
}

func (r *rotation) read(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(r.Path("keys", name))
	require.NoError(r.t, err)
	return string(text)
}

// keygen makes a key with the lifeline command and returns what it prints.
func (r *rotation) keygen(kind, name string, args ...string) string {
	r.t.Helper()
	out, err := r.Run(r.ctx, append([]string{"keygen", kind, "--output", r.Path("keys", name)}, args...)...)
	require.NoError(r.t, err)
	return out
}

// says waits for a line of a collector that was not there before the call.
func (r *rotation) says(p *proc.Process, do func(), parts ...string) {
	r.t.Helper()
	before := len(p.Lines())
	do()
	_, err := p.WaitLineAfter(r.ctx, before, parts...)
	require.NoError(r.t, err)
}

// TestRotation replaces every key of the fallback in the documented order while
// agent, gateway and recovery run. The agent has no gateway: all its data goes
// through flares. No process is restarted and nothing is lost; where the order
// is turned round by mistake, flares wait and come when it is put right.
func TestRotation(t *testing.T) {
	s := newStack(t)
	r := &rotation{Stack: s, t: t, ctx: env.Within(t, 4*time.Minute)}
	nowhere, err := proc.FreeAddrs(1)
	require.NoError(t, err)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_GATEWAY=http://"+nowhere[0], "LIFELINE_MAX_AGE=2s", "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Recovery.Env = append(s.Recovery.Env, "LIFELINE_POLL_INTERVAL=1s")
	for _, role := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		require.NoError(t, role.Start(r.ctx))
	}
	processes := [3]int{s.Gateway.P.PID(), s.Recovery.P.PID(), s.Agent.P.PID()}
	for _, step := range []struct {
		name string
		do   func(*rotation)
	}{
		{"recovery's identity and the recipients", (*rotation).identity},
		{"an agent's signing key", (*rotation).signingKey},
		{"from plain keys to an authority", (*rotation).authority},
		{"the authority", (*rotation).nextAuthority},
		{"the agents' key of the bucket", (*rotation).writeKey},
		{"recovery's key of the bucket", (*rotation).recoveryKey},
	} {
		t.Run(step.name, func(t *testing.T) {
			r.t = t
			r.flow()
			step.do(r)
			r.flow()
		})
	}
	require.Equal(t, [3]int{s.Gateway.P.PID(), s.Recovery.P.PID(), s.Agent.P.PID()}, processes)
	for _, role := range []*stack.Role{s.Gateway, s.Recovery, s.Agent} {
		require.NoError(t, role.Ended(r.ctx))
	}
	m, err := s.Agent.Scrape(r.ctx)
	require.NoError(t, err)
	require.Zero(t, m.Sum("otelcol_lifeline_lost_items"))
	require.Positive(t, m.Sum("otelcol_lifeline_flare_ready"))
	m, err = s.Recovery.Scrape(r.ctx)
	require.NoError(t, err)
	require.Zero(t, m.Sum("otelcol_lifeline_recovery_waiting"))
	require.Zero(t, m.Sum("otelcol_lifeline_recovery_quarantined"))
	require.Zero(t, m.Sum("otelcol_lifeline_recovery_seq_gaps"))
}

// identity: recovery first, then the agents, then the old one goes.
func (r *rotation) identity() {
	public := r.keygen("recovery", "recovery-2.key", "--classic")
	old, next := r.read("recovery.key"), r.read("recovery-2.key")
	recipients := strings.SplitAfter(r.read("recipients.txt"), "\n")

	// Too soon: the agents still seal to the old one.
	r.replace("recovery.key", next)
	r.says(r.Recovery.P, r.send, "no_identity")
	r.replace("recovery.key", old, next)
	r.arrived()

	r.replace("recipients.txt", public, recipients[1])
	r.flow()
	m, err := r.Recovery.Scrape(r.ctx)
	require.NoError(r.t, err)
	require.Positive(r.t, m.Sum("otelcol_lifeline_recovery_opened", `identity="`+public[:20]+`"`), "the new identity is in use")
	r.replace("recovery.key", next)
}

// signingKey: recovery's trust first, then the agent, then the old line goes.
func (r *rotation) signingKey() {
	line := r.keygen("agent", "agent-2", "--principal", stack.Principal)
	old := r.read("allowed_signers")

	// Too soon: nobody trusts it yet.
	r.replace("agent_ed25519", r.read("agent-2"))
	r.says(r.Recovery.P, r.send, "unknown_signer")
	r.replace("allowed_signers", old, line)
	r.arrived()
	r.flow()
	r.replace("allowed_signers", line)
}

// authority: its line, then certificate and key of the agent in this order, then
// the agent's own line goes.
func (r *rotation) authority() {
	line := r.keygen("ca", "ca", "--principals", "acme/*")
	r.keygen("agent", "agent-3", "--principal", "ignored/by-certificate")
	own := r.read("allowed_signers")
	r.replace("allowed_signers", own, line)
	r.replace("agent_ed25519-cert.pub", r.certify("agent-3", "ca"))
	r.flow() // the old key seals: a certificate that is not of it is no certificate
	r.replace("agent_ed25519", r.read("agent-3"))
	r.flow()
	r.replace("allowed_signers", line)
}

// nextAuthority: its line, then the agents' certificates, then the old one goes.
func (r *rotation) nextAuthority() {
	line := r.keygen("ca", "ca-2", "--principals", "acme/*")
	old := r.read("allowed_signers")
	r.replace("allowed_signers", old, line)
	r.replace("agent_ed25519-cert.pub", r.certify("agent-3", "ca-2"))
	r.flow()
	r.replace("allowed_signers", line)
}

// certify does what `ssh-keygen -s` does.
func (r *rotation) certify(key, ca string) string {
	r.t.Helper()
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(r.read(key + ".pub")))
	require.NoError(r.t, err)
	authority, err := ssh.ParsePrivateKey([]byte(r.read(ca)))
	require.NoError(r.t, err)
	cert := &ssh.Certificate{
		Key: public, CertType: ssh.UserCert, Serial: 1, KeyId: "host-17", ValidPrincipals: []string{stack.Principal},
		ValidAfter: uint64(time.Now().Add(-5 * time.Minute).Unix()), ValidBefore: uint64(time.Now().Add(time.Hour).Unix()), //nolint:gosec // after 1970
	}
	require.NoError(r.t, cert.SignCert(rand.Reader, authority))
	return string(ssh.MarshalAuthorizedKey(cert))
}

// writeKey: the second key exists, then the agents get it, then the first goes.
func (r *rotation) writeKey() {
	next := s3.Account{AccessKeyID: "flare-writer-2", SecretAccessKey: "second-for-tests-only"}
	require.NoError(r.t, r.S3.AddKey(r.ctx, s3.Writer, next))
	require.NoError(r.t, next.WriteFile(r.Path("keys", "s3-agent")))
	r.flow() // with the first, which is proven
	require.NoError(r.t, r.S3.RemoveKey(r.ctx, s3.Writer))
	r.flow()

	// Too soon: the key goes before the agents have another one.
	third := s3.Account{AccessKeyID: "flare-writer-3", SecretAccessKey: "third-for-tests-only"}
	require.NoError(r.t, r.S3.AddKey(r.ctx, next, third))
	require.NoError(r.t, r.S3.RemoveKey(r.ctx, next))
	r.says(r.Agent.P, r.send, "The bucket does not take flares", "InvalidAccessKeyId")
	require.NoError(r.t, third.WriteFile(r.Path("keys", "s3-agent")))
	r.arrived()
}

// recoveryKey: as the agents'.
func (r *rotation) recoveryKey() {
	next := s3.Account{AccessKeyID: "flare-recovery-2", SecretAccessKey: "second-for-tests-only"}
	require.NoError(r.t, r.S3.AddKey(r.ctx, s3.Recovery, next))
	require.NoError(r.t, next.WriteFile(r.Path("keys", "s3-recovery")))
	r.flow()
	require.NoError(r.t, r.S3.RemoveKey(r.ctx, s3.Recovery))
}
