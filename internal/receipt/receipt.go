// Package receipt makes and checks receipts: the proof that an ack came from a
// gateway that holds one of our keys. Whoever took over a gateway's name or
// address can answer 200, but cannot say that it took this batch.
//
// It does no I/O and starts no goroutine. Keys are immutable and safe for
// concurrent use.
package receipt

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Header is the HTTP header and the gRPC trailer that carries a receipt.
const Header = frame.HeaderReceipt

// version is the first word of every receipt of this form.
const version = "v1"

// Claim is what a receipt is made over. None of its texts holds a newline.
type Claim struct {
	Audience string // as in the request's header; empty if it had none
	Signal   frame.Signal
	BatchID  string // as sent, with the suffixes of splits
	Length   int64  // bytes of the uncompressed protobuf body
}

// Sign returns the value of the header for the claim, made with the first key.
func (k *Keys) Sign(c Claim) string {
	first := k.keys[0]
	return version + " " + first.id + " " + first.mac(c)
}

// What Verify returns, wrapped with what was wrong.
var (
	ErrMissing = errors.New("the answer has no receipt")
	ErrWrong   = errors.New("the answer's receipt is wrong")
)

// Verify returns nil if value is a receipt over the claim made with any of the
// keys. The errors name key ids, never a MAC.
func (k *Keys) Verify(value string, c Claim) error {
	if value == "" {
		return ErrMissing
	}
	words := strings.Split(value, " ")
	if len(words) != 3 || words[0] != version || !validID(words[1]) {
		return fmt.Errorf("%w: it is not of the form %q", ErrWrong, version+" <key id> <mac>")
	}
	for _, key := range k.keys {
		if key.id != words[1] {
			continue
		}
		if !hmac.Equal([]byte(words[2]), []byte(key.mac(c))) {
			return fmt.Errorf("%w: key %q did not make it for this request", ErrWrong, key.id)
		}
		return nil
	}
	return fmt.Errorf("%w: key %q is not in the key file", ErrWrong, words[1])
}

// mac is compared as text: base64 decodes some texts that are not the encoding.
func (k *key) mac(c Claim) string {
	m := hmac.New(sha256.New, k.secret[:])
	b := make([]byte, 0, 160)
	b = append(b, "lifeline-receipt v1\n"...)
	b = append(b, c.Audience...)
	b = append(b, '\n')
	b = append(b, c.Signal.String()...)
	b = append(b, '\n')
	b = append(b, c.BatchID...)
	b = append(b, '\n')
	b = strconv.AppendInt(b, c.Length, 10)
	_, _ = m.Write(b) // never fails, as documented by hash.Hash
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}
