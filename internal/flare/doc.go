// Package flare reads and writes the flare format, version 1, as specified in
// docs/FLARE.md: an age file around a strict ustar archive of a signed manifest
// and the stored bytes of frames.
//
// It does no I/O but on the readers and writers it is given, starts no
// goroutine, logs nothing, and never parses telemetry. Reading trusts nothing:
// every bound is checked before the bytes behind it are parsed, and no record is
// released before the whole object was verified to its last byte.
//
// An agent uses Sealer, with the files read by ParseRecipients and ParseSigner.
// Recovery uses Opener, with the files read by ParseIdentities,
// ParseAllowedSigners and ParseRevoked. All of them are immutable once made and
// safe for concurrent use.
package flare
