package flare

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// testRecord is a zstd frame (RFC 8878) of one raw block.
const testRecord = "\x28\xb5\x2f\xfd\x20\x09\x49\x00\x00self-test"

// SelfTest seals a record to an ephemeral identity beside the recipients, opens
// and verifies it: the keys work, on this machine, before they are needed. A
// certificate that has expired passes, because a flare it signs can still be
// taken once somebody decides so; SignerPrincipal tells when it ends.
func (s *Sealer) SelfTest() error {
	if err := CheckFIPS(); err != nil {
		return err
	}
	if len(s.Recipients) == 0 || s.Signer == nil {
		return errors.New("self-test: no recipients or no signing key")
	}
	identity, recipient, err := ephemeral(s.Recipients[0])
	if err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	recipients := slices.Clone(s.Recipients)
	if len(recipients) == maxStanzas {
		recipients = recipients[1:]
	}
	test := Sealer{Recipients: append(recipients, recipient), Signer: s.Signer}
	m := Manifest{
		Agent: "self-test", BootID: frame.RandomHex(), Seq: 1, Reason: Drill,
		Created: TimeOf(validTime(s.Signer)),
	}
	body := []byte(testRecord)
	frames := []frame.Frame{{
		Signal: frame.Logs, BatchID: frame.NewBatchID(), RawSize: int64(len("self-test")), Stored: frame.Bytes(body),
	}}
	var sealed bytes.Buffer
	if err := test.Seal(&sealed, &m, frames); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	opener := Opener{Identities: []age.Identity{identity}, Signers: trustOnly(s.Signer.PublicKey())}
	f, err := opener.Open(Object{ID: m.FlareID}, sealed.Bytes())
	if err != nil {
		return fmt.Errorf("self-test: open what was sealed: %w", err)
	}
	if got, ok := f.Frames[0].Stored.(frame.Bytes); !ok || !bytes.Equal(got, body) {
		return errors.New("self-test: what was opened is not what was sealed")
	}
	return nil
}

// ephemeral makes an identity of the kind of like: age does not mix kinds.
func ephemeral(like age.Recipient) (age.Identity, age.Recipient, error) {
	if _, ok := like.(*age.X25519Recipient); ok {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return nil, nil, err
		}
		return id, id.Recipient(), nil
	}
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, nil, err
	}
	return id, id.Recipient(), nil
}

// trustOnly trusts one key, or the authority of one certificate.
func trustOnly(key ssh.PublicKey) *Signers {
	if cert, ok := key.(*ssh.Certificate); ok {
		line := signerLine{principals: "*", authority: true}
		return &Signers{cas: map[string][]signerLine{string(cert.SignatureKey.Marshal()): {line}}, n: 1}
	}
	line := signerLine{principals: "self-test"}
	return &Signers{keys: map[string][]signerLine{string(key.Marshal()): {line}}, n: 1}
}

// validTime returns now, or the nearest time at which signer is valid.
func validTime(signer ssh.Signer) time.Time {
	now := time.Now()
	cert, ok := signer.PublicKey().(*ssh.Certificate)
	if !ok {
		return now
	}
	if from := time.Unix(int64(min(cert.ValidAfter, 1<<40)), 0); now.Before(from) {
		return from
	}
	if to := time.Unix(int64(min(cert.ValidBefore, 1<<40))-1, 0); now.After(to) {
		return to
	}
	return now
}
