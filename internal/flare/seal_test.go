package flare

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestRoundTrip(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	id, err := age.GenerateHybridIdentity()
	require.NoError(t, err)
	s := &Sealer{Recipients: []age.Recipient{id.Recipient()}, Signer: signer}
	require.NoError(t, s.SelfTest())
	now := time.Now()
	m := &Manifest{Agent: "acme/host-17", BootID: frame.RandomHex(), Seq: 1, Reason: Expired, Created: TimeOf(now)}
	frames := []frame.Frame{{
		Signal: frame.Traces, BatchID: frame.NewBatchID(), RawSize: 1000, Stored: frame.Bytes("stored"),
		Header: frame.Header{Agent: "acme/host-17", Boot: m.BootID, Seq: 1, From: 1, To: 2, Items: 3, Attempt: 1},
		Meta:   map[string][]string{"x-scope-orgid": {"a"}},
	}}
	var sealed bytes.Buffer
	require.NoError(t, s.Seal(&sealed, m, frames))
	p := Opener{Identities: []age.Identity{id}, Signers: trustOnly(signer.PublicKey()), MaxAge: time.Hour}
	f, err := p.Open(Object{ID: m.FlareID, LastModified: now}, sealed.Bytes())
	require.NoError(t, err)
	require.Equal(t, frames, f.Frames)
}
