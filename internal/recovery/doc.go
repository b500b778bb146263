// Package recovery brings flares back: it lists a bucket, verifies every flare
// to its last byte, forwards the stored bytes of its records to a gateway, and
// deletes the flare only after every record was acked.
//
// Nothing unverified is ever forwarded, and nothing that fails a check is ever
// deleted: it is copied to quarantine first, or stays where it is and waits.
// Records may arrive twice after a crash or an answer that was lost; they carry
// the same batch ids then. byhand.go is for a person who does a part of this
// work: the lifeline command.
//
// Run is the loop. It starts a goroutine per flare that is worked on and per
// record on its way, and one that renews leases; they have ended when it returns.
// One lock guards all state and is given up for every call outside, so that the
// code reads as if each ran alone. Only Snapshot may be called meanwhile.
//
// To read it, follow a flare: loop.go (a pass), list.go (what is in the bucket,
// and whose turn it is), visit.go (fetch and open one flare), drill.go, turns.go
// (which of its records goes next), forward.go (what becomes of a record),
// gateway.go (one attempt), finish.go (copy, marker, delete). Pure decisions
// about order, steps and pauses are in plan.go. What is remembered: memo.go (of
// an object, for as long as the process lives), try.go (try markers: who died of
// a flare), marker.go (done markers: what was taken), snapshot.go (for metrics),
// spot.go (which agents flare, and why), numbers.go (which flares are missing).
// Around it: pace.go (how much at a time), lease.go (which flares are this
// process's), rights.go (proof that all this may be done), keep.go (housekeeping),
// calls.go (the bucket with deadlines).
package recovery

import (
	"context"
	"time"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// Settings configures a Loop. All fields but Refresh, Flares, Lease, Observer,
// Random and NewID are required.
type Settings struct {
	Bucket bucket.Bucket
	// Refresh is called before every pass to renew what Bucket signs with; nil for
	// nothing. What is wrong with it is its own to report: a pass that has no
	// valid credential fails by the bucket's answer.
	Refresh     func(ctx context.Context)
	Prefix      string // where agents put flares
	StatePrefix string // recovery's own objects; neither under Prefix nor above it
	// Keys returns the keys in force; another pointer means that a file changed.
	// It is asked before every flare. nil: there are no usable keys, so flares
	// are counted and not opened.
	Keys func() *Keys

	Gateway Gateway
	Flares  int  // worked on at the same time; 0: one
	Lease   bool // other recoveries work on the same bucket

	PollInterval       time.Duration
	MaxAge             time.Duration // how long a flare may take from creation to upload; done markers outlive it
	QuarantineMaxBytes int64
	Observer           Observer
	Random             func() float64 // in [0, 1), spreads load; nil: the process's own
	NewID              func() string  // 32 random lower-case hex digits, for keys; nil: the process's own
}

// Keys are what recovery is and whom it trusts. They are immutable.
type Keys struct {
	Opener     Opener
	Identities []age.Identity  // open done markers; in the order the Opener has them
	Names      []string        // of the identities, for a metric
	Recipients []age.Recipient // seal done markers; of the same identities
	Enrolled   []string        // principals whose drills are missed if there are none; may be nil
}

// Opener verifies one flare; *flare.Opener does. Errors are *flare.Error. It may
// be used concurrently.
type Opener interface {
	Open(o flare.Object, data []byte) (*flare.Flare, error)
	// Look returns what Open would say of o whatever comes behind head, or, if the rest
	// matters, how many bytes it needs to say more.
	Look(o flare.Object, head []byte) (need int64, err error)
	// Knows reports whether somebody may sign as principal.
	Knows(principal string) bool
}

// Observer is told of changes of state, once each. Its functions may be nil and
// must not block; they are never called concurrently.
type Observer struct {
	// Path is called when the bucket or the gateway stops taking part (err says
	// which, and why) or does so for another cause, and with nil when both work again.
	Path func(err error)
	// Flare is called when a flare reaches a state.
	Flare func(e Event)
}

// State is where a flare is, as Events and Snapshot name it. The set is closed.
type State string

// The states of a flare. A flare that is in none of them is pending.
const (
	Recovered   State = "recovered"   // every record was acked
	Drilled     State = "drill"       // a drill came through; nothing was forwarded
	Quarantined State = "quarantined" // moved to quarantine/<reason>/
	Waiting     State = "waiting"     // cannot be taken now; untouched, looked at again
	Stuck       State = "stuck"       // settled, but a step after that failed; only that step is tried again
)

// Event is one flare reaching a State.
type Event struct {
	Key       string // the object's key in the bucket
	State     State
	Reason    string // of Waiting and Quarantined; the step of Stuck
	Principal string // who signed; "" unless the flare was verified
	Agent     string // the manifest's claim
	Why       flare.Reason
	Cause     string    // what kept its data from the gateway, as FlareKind has it
	Created   time.Time // as the manifest says
	Items     int64     // acked items
	Bytes     int64     // size of the object
	Err       error     // what went wrong; nil for Recovered and Drilled
}
