package delivery

import (
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Snapshot is the state of an Engine at one instant; what is held and counted is
// read under the ring's lock.
// For every signal Accepted == Delivered + Flared + Rejected + Lost + Held.
type Snapshot struct {
	Signals   [frame.NumSignals]Items
	Used      int64 // bytes of whole pages: frames, open frames, sealed flare
	Capacity  int64
	Frames    int                      // that the ring has, those of flares included
	OldestAge time.Duration            // of the oldest item held; 0 when none is
	Causes    map[otlpsend.Cause]int64 // of the attempts to send that failed since the last ack
	Flares    map[FlareOutcome]int64
	DrillPut  time.Time // when a bucket took the latest drill; zero: none did
	Ready     bool      // the fallback would work: keys parsed, self-test passed
}

// Items counts the items of one signal since the Engine was made.
type Items struct {
	Accepted, Delivered, Rejected, Held int64
	Flared                              map[flare.Reason]int64
	Lost                                map[LossReason]int64
	LateAcks                            int64 // acks for items that had left the ring: duplicates
}

// Outcomes returns how a flare can end.
func Outcomes() []string { return []string{outcomeStored, outcomeGivenUp, outcomeFailed} }

// FlareOutcome is how a flare ended: "stored", "given_up" or "failed".
type FlareOutcome struct {
	Reason  flare.Reason
	Outcome string
}
