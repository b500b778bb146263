package flare

// The reasons of an Error. The set is closed: they are names of quarantine
// folders and metric labels.
const (
	// Bad for ever: quarantine.
	Malformed    = "malformed"   // not a flare, damaged, or against a rule of the format
	Hash         = "hash"        // a record is not what was signed
	BadSignature = "signature"   // not what the trusted key signed
	IDMismatch   = "id_mismatch" // signed under another id: a copy
	RevokedKey   = "revoked"     // the key or the principal is revoked

	// Not now: a changed file, setting or version can make it good.
	NoIdentity         = "no_identity"
	UnknownSigner      = "unknown_signer"
	ExpiredCertificate = "expired_certificate" // or not valid yet, at created
	OtherAudience      = "audience"
	Clock              = "clock" // created more than 24 h after it was stored
	Stale              = "stale" // created more than max_age before it was stored
	NeedsNewer         = "needs_newer"
)

// Error is why a flare was not opened.
type Error struct {
	Bad    bool   // true: bad for ever, quarantine; false: not now, waiting
	Reason string // one of the reasons above
	Err    error
}

// Error implements error.
func (e *Error) Error() string { return e.Reason + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func bad(reason string, err error) *Error    { return &Error{Bad: true, Reason: reason, Err: err} }
func notNow(reason string, err error) *Error { return &Error{Reason: reason, Err: err} }
