package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// writeDamaged makes a folder with a flare of two large records, cut off in the
// second one.
func writeDamaged(folder string) error {
	keys := filepath.Join("..", "..", "testdata", "keys")
	recipients, err := parseFile("recipients", filepath.Join(keys, "recipients_classic.txt"), func(r io.Reader) ([]age.Recipient, error) {
		return flare.ParseRecipients(r, false)
	})
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(filepath.Join(keys, "agent_ed25519")) //nolint:gosec // a published key
	if err != nil {
		return err
	}
	signer, err := flare.ParseSigner(pem, nil)
	if err != nil {
		return err
	}
	m := &flare.Manifest{
		FlareID: "0000000000000000000000000000dddd", Agent: "acme/host-17", BootID: frame.RandomHex(), Seq: 1,
		Reason: flare.Expired, Created: flare.TimeOf(time.Now()),
	}
	var sealed bytes.Buffer
	if err := (&flare.Sealer{Recipients: recipients, Signer: signer}).Seal(&sealed, m, []frame.Frame{noise(), noise()}); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, m.FlareID+".age"), sealed.Bytes()[:300<<10], 0o600)
}

// noise is a frame that does not compress, of several age chunks.
func noise() frame.Frame {
	raw := make([]byte, 200<<10)
	_, _ = rand.Read(raw) // never fails
	var stored bytes.Buffer
	_ = otlpcodec.Compress(&stored, raw) // fails only if the buffer does
	return frame.Frame{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len(raw)), Stored: frame.Bytes(stored.Bytes()),
		Header: frame.Header{Agent: "acme/host-17", Boot: frame.RandomHex(), Seq: 1, From: 1, To: 1, Items: 1, Attempt: 1},
	}
}
