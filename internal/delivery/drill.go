package delivery

import (
	"bytes"
	"time"

	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

const (
	firstDrillWithin = time.Hour     // after a start, or after a bucket refused
	proofWithin      = 8 * time.Hour // after a drill that proved nothing, at most
)

// firstDrill returns when the first drill comes; the zero time means never.
// Random is in [0, 1): a fleet that was restarted must not drill as one.
func firstDrill(now time.Time, interval time.Duration, random float64) time.Time {
	if interval <= 0 {
		return time.Time{}
	}
	return drawn(now, min(interval, firstDrillWithin), random)
}

// drawn returns a time between now and d later.
func drawn(now time.Time, d time.Duration, random float64) time.Time {
	return now.Add(time.Duration(random * float64(d)))
}

// proof is a drill that is due although the last one is not long ago.
type proof struct {
	at     time.Time     // zero: none
	within time.Duration // of what at was drawn
}

// proveLater has a drill within some time while a bucket refuses, or the keys: what
// the flare was to hold may be with the gateway by then, and nothing but a PUT shows
// that flares are taken again. The caller holds mu.
func (fb *fallback) proveLater(now time.Time, within time.Duration) {
	fb.proof = proof{within: min(within, fb.drills)}
	if fb.proof.within > 0 && len(fb.targets.refused) > 0 {
		fb.proof.at = drawn(now, fb.proof.within, fb.random())
	}
}

// drillAt returns when the next drill is due, at regular or earlier, and whether one
// is due now. Without news the next proof takes longer: what one bucket refuses for
// days another one takes, and recovery reads.
func (fb *fallback) drillAt(now, regular time.Time) (at time.Time, due bool) {
	fb.mu.Lock()
	defer fb.mu.Unlock()
	if at = minTime(regular, fb.proof.at); at.IsZero() || now.Before(at) {
		return at, false
	}
	fb.proveLater(now, min(2*fb.proof.within, proofWithin))
	return minTime(now.Add(fb.drills), fb.proof.at), true
}

// drillDue puts the drill that is due into the ring, where it waits for its
// expiry like all frames, and returns when the next one is. A drill that no
// bucket took is still there and counts as the next.
func (e *Engine) drillDue(now time.Time) time.Time {
	at, due := e.fb.drillAt(now, e.drillAt)
	if !due {
		return at
	}
	e.drillAt = now.Add(e.s.Flare.DrillInterval)
	piece, err := otlpcodec.EncodeDrill(otlpcodec.Drill{Agent: e.s.Agent, Boot: e.boot, Version: e.s.Version, Time: now})
	if err != nil {
		return at // a constant record encodes; without one the drill is missed, and alerted
	}
	var stored bytes.Buffer
	_ = otlpcodec.Compress(&stored, piece.Raw) // fails only if the buffer does
	e.ring.AddDrill(stored.Bytes(), int64(len(piece.Raw)), now)
	return at
}
