package s3

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// agent seals flares.
type agent struct {
	name   string
	boot   string
	signer ssh.Signer
	to     []age.Recipient
	seq    uint64
}

func newAgent(t *testing.T, name string, to ...age.Recipient) *agent {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	return &agent{name: name, boot: frame.RandomHex(), signer: signer, to: to}
}

// trustLine is the agent's line in an allowed signers file.
func (a *agent) trustLine() string {
	return a.name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(a.signer.PublicKey())))
}

// logs returns a frame of one log record.
func (a *agent) logs(t *testing.T, body string) frame.Frame {
	t.Helper()
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr(body)
	pieces, err := new(otlpcodec.Scratch).EncodeLogs(ld, 1<<20)
	require.NoError(t, err)
	var stored bytes.Buffer
	require.NoError(t, otlpcodec.Compress(&stored, pieces[0].Raw))
	now := time.Now().UnixMilli()
	return frame.Frame{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len(pieces[0].Raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{Agent: a.name, Boot: a.boot, Seq: a.seq + 1, From: now, To: now, Items: 1, Attempt: 1},
	}
}

// flare seals frames as expired data and returns the object's key and bytes.
func (a *agent) flare(t *testing.T, frames ...frame.Frame) (key string, sealed []byte) {
	t.Helper()
	return a.flareOf(t, flare.Expired, frames...)
}

func (a *agent) flareOf(t *testing.T, why flare.Reason, frames ...frame.Frame) (key string, sealed []byte) {
	t.Helper()
	a.seq++
	m := &flare.Manifest{
		Agent: a.name, Audience: "acme-prod", BootID: a.boot, Seq: a.seq, Reason: why, Created: flare.TimeOf(time.Now()),
	}
	var buf bytes.Buffer
	s := flare.Sealer{Recipients: a.to, Signer: a.signer}
	require.NoError(t, s.Seal(&buf, m, frames))
	return flare.Key(Prefix, m.FlareID), buf.Bytes()
}
