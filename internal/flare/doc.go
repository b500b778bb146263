// Package flare reads and writes the flare format, version 1, as specified in
// docs/FLARE.md: an age file around a strict ustar archive of a signed manifest
// and the stored bytes of frames.
//
// It does no I/O but on the readers and writers it is given, starts no
// goroutine, and never parses telemetry. Reading trusts nothing: every bound is
// checked before the bytes behind it are parsed, and no record is released
// before the whole object was verified to its last byte.
package flare

import (
	"errors"
	"io"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Reason is why a flare was made. The set is closed.
type Reason string

// The reasons.
const (
	Expired  Reason = "expired"
	RingFull Reason = "ring_full"
	Shutdown Reason = "shutdown"
	Rejected Reason = "rejected"
	Drill    Reason = "drill"
	Manual   Reason = "manual"
)

// Sealer holds an agent's public keys and its signing key. It is immutable and
// safe for concurrent use.
type Sealer struct {
	Recipients []age.Recipient
	Signer     ssh.Signer // Ed25519, plain or with a certificate
}

// Seal writes a flare of frames to w. It fills m.FlareID (unless set), m.Type,
// m.Totals and m.Records from the frames; the caller sets the rest.
func (s *Sealer) Seal(w io.Writer, m *Manifest, frames []frame.Frame) error { panic("not written") }

// SizeBound returns the most bytes Seal can write for n frames of stored bytes
// in all.
func (s *Sealer) SizeBound(n int, stored int64, meta int64) int64 { panic("not written") }

// SelfTest seals a record to an ephemeral identity beside the recipients, opens
// and verifies it.
func (s *Sealer) SelfTest() error { panic("not written") }

// Object is what the store says about a flare.
type Object struct {
	ID           string // 32 hex digits of the key
	LastModified time.Time
}

// Opener verifies flares. It is immutable and safe for concurrent use.
type Opener struct {
	Identities []age.Identity
	Audience   string
	MaxAge     time.Duration
	// trust: allowed signers and revocations
}

// Open verifies data as the object o and returns what it holds. Errors are
// *Error. The flare's bodies are slices of newly allocated memory.
func (p *Opener) Open(o Object, data []byte) (*Flare, error) { panic("not written") }

// Flare is a verified flare.
type Flare struct {
	Manifest  Manifest
	Principal string // what the trust file says about the key that signed
	Frames    []frame.Frame
}

// Error is why a flare was not opened.
type Error struct {
	Bad    bool   // true: bad for ever, quarantine; false: not now, waiting
	Reason string // closed set, used as a directory name and a metric label
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return e.Reason + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Manifest is manifest.json.
type Manifest struct{}
