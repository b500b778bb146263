package recovery

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

const (
	maxVisits    = 10_000           // pending objects taken on in one pass
	maxRelooks   = 200              // waiting and stuck objects looked at in one pass
	maxMemos     = 1_000_000        // objects remembered between passes
	maxTries     = 3                // processes that may die opening one flare
	lookAgain    = time.Hour        // how often a waiting flare is looked at
	housekeeping = time.Hour        // how often markers and quarantine are counted
	markerGrace  = 48 * time.Hour   // a done marker outlives max_age by this
	minBackoff   = time.Second      // after the first path failure
	maxBackoff   = 30 * time.Second // so that a healed path is seen within half a minute
	maxFloor     = 5 * time.Minute  // the longest pause a gateway may ask for
)

// Step is one effect in the bucket after a flare's fate is known.
type Step string

// The steps, as the stuck metric names them.
const (
	StepCopy   Step = "copy"   // into quarantine
	StepMarker Step = "marker" // done/<id>
	StepDelete Step = "delete" // the flare itself
	StepSweep  Step = "sweep"  // an old done/<id>; of no flare
)

// fate is what becomes of a flare. It is decided once per process and object.
type fate struct {
	state  State
	reason string // of Quarantined
	signed bool   // the signature was good: the id must never be taken again
	done   bool   // a marker was found: only the delete is left
	err    error  // why, for the log
}

// steps returns what has to be done for a fate, in order.
//
// The copy comes before the marker: whoever finds a marker deletes the flare, so
// a crash between the two would lose a quarantined flare in the other order. The
// marker comes before the delete: after a delete the key is free again, and only
// the marker keeps a replayed copy out.
func (f fate) steps() []Step {
	switch {
	case f.done:
		return []Step{StepDelete}
	case f.state == Quarantined && f.signed:
		return []Step{StepCopy, StepMarker, StepDelete}
	case f.state == Quarantined:
		return []Step{StepCopy, StepDelete}
	default:
		return []Step{StepMarker, StepDelete}
	}
}

// object is one flare in the bucket.
type object struct {
	bucket.Info
	id       string
	pending  bool    // counted as pending by the listing
	looked   uint64  // the pass that looked at it last; 0 while pending
	failures int     // path failures while it was worked on
	signer   string  // the principal, if it was verified already
	lot      float64 // drawn if there is no memory of whether it was looked at; else 0
	turn     int     // how many of its folder and principal go before it; set by takeTurns
}

// source returns whose turn it is: the folder, and the principal once it is
// known. Before a flare is opened nobody knows who sent it.
func (o object) source() string {
	return o.Key[:strings.LastIndexByte(o.Key, '/')+1] + "\n" + o.signer
}

// goesBefore orders objects: what was looked at longest ago, then what did not
// break the path, then the turns of the folders, then by lot, then the oldest.
// Without the second rule one flare that a proxy refuses would keep all others from
// being tried; it stands before the turns, because that flare may be alone in a
// folder. Without the lots a flood of more objects than can be remembered would be
// looked at again and again, the oldest of it first.
func goesBefore(a, b object) int {
	return cmp.Or(cmp.Compare(a.looked, b.looked), cmp.Compare(a.failures, b.failures),
		cmp.Compare(a.turn, b.turn), cmp.Compare(a.lot, b.lot),
		a.LastModified.Compare(b.LastModified), cmp.Compare(a.Key, b.Key))
}

// takeTurns sorts objects, lets folders take turns and keeps the first n, in
// place. The turns come before the cut: a flood in one folder starves no other.
func takeTurns(objects []object, n int) []object {
	for i := range objects {
		objects[i].turn = 0
	}
	slices.SortFunc(objects, goesBefore)
	type queue struct {
		looked   uint64
		failures int
		source   string
	}
	lengths := map[queue]int{}
	for i, o := range objects {
		q := queue{o.looked, o.failures, o.source()}
		objects[i].turn = lengths[q]
		lengths[q]++
	}
	slices.SortFunc(objects, goesBefore)
	return objects[:min(n, len(objects))]
}

// pathError ends a pass: the bucket or the gateway does not do its part. No
// flare is blamed for it.
type pathError struct {
	part  string // "bucket" or "gateway"
	class string // of the error
	slow  bool   // it answers, but wrongly: no use in hurrying
	floor time.Duration
	err   error
}

func (e *pathError) Error() string { return e.part + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// bucketPath returns err as the failure of the bucket.
func bucketPath(err error) error {
	kind := bucket.KindOf(err)
	p := &pathError{part: "bucket", class: kind.String(), slow: kind == bucket.Denied || kind == bucket.Refused, err: err}
	if e, ok := errors.AsType[*bucket.Error](err); ok && p.slow {
		p.class = e.Op + " " + e.Code // each right may be a trouble of its own
	}
	return p
}

// pause returns how long to wait after the n-th path failure in a row (n from
// 1); share is random in [0, 1).
func pause(err error, n int, share float64) time.Duration {
	d := min(minBackoff<<min(n-1, 16), maxBackoff)
	p, ok := errors.AsType[*pathError](err)
	if ok && p.slow {
		d = maxBackoff
	}
	d = d/2 + time.Duration(share*float64(d/2))
	if ok {
		d = max(d, min(time.Duration(float64(p.floor)*(1+share)), maxFloor))
	}
	return d
}
