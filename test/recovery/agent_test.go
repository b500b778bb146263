package recovery

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

const audience = "acme-prod"

// agent makes flares as the exporter does. What it seals to forward goes into
// the ledger of its rig.
type agent struct {
	rig      *rig
	name     string
	audience string
	signer   ssh.Signer
	boot     string
	seq      uint64 // of the last flare
	frames   uint64 // of the last frame
}

func (r *rig) agent(name string) *agent {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(r.t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(r.t, err)
	return &agent{rig: r, name: name, audience: audience, signer: signer, boot: frame.RandomHex()}
}

// trust is the agent's line in the allowed signers file.
func (a *agent) trust() string {
	return a.name + " " + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(a.signer.PublicKey())))
}

// logs returns a frame of n log records, none like any other.
func (a *agent) logs(n int) frame.Frame {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for range n {
		records.AppendEmpty().Body().SetStr("order " + frame.RandomHex())
	}
	return a.frame(ld)
}

// noise returns a frame of one log record of size bytes that no compression makes
// smaller.
func (a *agent) noise(from io.Reader, size int) frame.Frame {
	body := make([]byte, size)
	_, err := io.ReadFull(from, body)
	require.NoError(a.rig.t, err)
	ld := plog.NewLogs()
	ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetEmptyBytes().FromRaw(body)
	return a.frame(ld)
}

// drill returns a frame that holds what a drill does.
func (a *agent) drill() frame.Frame {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutBool(otlpcodec.DrillAttribute, true)
	rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("drill")
	return a.frame(ld)
}

func (a *agent) frame(ld plog.Logs) frame.Frame {
	t := a.rig.t
	pieces, err := new(otlpcodec.Scratch).EncodeLogs(ld, flare.MaxRawSize)
	require.NoError(t, err)
	require.Len(t, pieces, 1)
	var stored bytes.Buffer
	require.NoError(t, otlpcodec.Compress(&stored, pieces[0].Raw))
	a.frames++
	now := time.Now().UnixMilli()
	return frame.Frame{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len(pieces[0].Raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{Agent: a.name, Boot: a.boot, Seq: a.frames, From: now, To: now, Items: pieces[0].Items, Attempt: 2},
	}
}

// seal returns a flare's id and bytes. Unless it is a drill or rejected, its
// records are to arrive.
func (a *agent) seal(why flare.Reason, frames ...frame.Frame) (string, []byte) {
	t := a.rig.t
	a.seq++
	m := &flare.Manifest{
		Agent: a.name, Audience: a.audience, BootID: a.boot, Seq: a.seq,
		Reason: why, Created: flare.TimeOf(time.Now()),
	}
	s := flare.Sealer{Recipients: []age.Recipient{a.rig.id.Recipient()}, Signer: a.signer}
	var sealed bytes.Buffer
	require.NoError(t, s.Seal(&sealed, m, frames))
	if why == flare.Expired {
		for _, f := range frames {
			raw, err := otlpcodec.Decompress(f.Stored, f.RawSize)
			require.NoError(t, err)
			a.rig.sink.accept(raw)
		}
	}
	return m.FlareID, sealed.Bytes()
}

// flare seals and stores a flare and returns its id.
func (a *agent) flare(why flare.Reason, frames ...frame.Frame) string {
	id, data := a.seal(why, frames...)
	a.rig.put(flare.Key("f/", id), data)
	return id
}

func (c call) String() string { return fmt.Sprintf("%s (%s)", c.name, c.key) }
