package frame

import (
	"crypto/rand"
	"encoding/hex"
)

// maxHalvings bounds how often a batch may be split in two.
const maxHalvings = 24

// BatchID names the items of a frame: 32 lower-case hex digits, followed by a
// ".0" or ".1" for every time the batch was split. It is the same on every
// retry and in every flare, so that a consumer can drop duplicates.
type BatchID string

// NewBatchID returns a random root id of 128 bits.
func NewBatchID() BatchID { return BatchID(RandomHex()) }

// RandomHex returns 32 lower-case hex digits from the system's secure random
// source: the form of batch ids, boot ids and flare ids.
func RandomHex() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, as documented by crypto/rand
	return hex.EncodeToString(b[:])
}

// ParseBatchID accepts ^[0-9a-f]{32}(\.[01]){0,24}$ and nothing else.
func ParseBatchID(s string) (BatchID, bool) {
	if len(s) < 32 || len(s) > 32+2*maxHalvings || len(s)%2 != 0 || !IsHex32(s[:32]) {
		return "", false
	}
	for i := 32; i < len(s); i += 2 {
		if s[i] != '.' || s[i+1] != '0' && s[i+1] != '1' {
			return "", false
		}
	}
	return BatchID(s), true
}

// IsHex32 reports whether s is exactly 32 lower-case hex digits.
func IsHex32(s string) bool { return len(s) == 32 && IsHex(s) }

// IsHex reports whether s has lower-case hex digits alone.
func IsHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Root returns the id without the suffixes of splits: the message key under
// which all parts of a batch meet.
func (id BatchID) Root() BatchID {
	if len(id) > 32 {
		return id[:32]
	}
	return id
}

// Halves returns the ids of the two halves of this batch, and false when the
// batch was already split as often as the form of the id allows.
func (id BatchID) Halves() (BatchID, BatchID, bool) {
	if len(id) >= 32+2*maxHalvings {
		return "", "", false
	}
	return id + ".0", id + ".1", true
}
