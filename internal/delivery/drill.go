package delivery

import (
	"bytes"
	"time"

	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// firstDrillWithin bounds how long after a start the first drill comes.
const firstDrillWithin = time.Hour

// firstDrill returns when the first drill comes; the zero time means never.
// Random is in [0, 1): a fleet that was restarted must not drill as one.
func firstDrill(now time.Time, interval time.Duration, random float64) time.Time {
	if interval <= 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(random * float64(min(interval, firstDrillWithin))))
}

// drillDue puts the drill that is due into the ring, where it waits for its
// expiry like all frames, and returns when the next one is. A drill that no
// bucket took is still there and counts as the next.
func (e *Engine) drillDue(now time.Time) time.Time {
	if e.drillAt.IsZero() || now.Before(e.drillAt) {
		return e.drillAt
	}
	e.drillAt = now.Add(e.s.Flare.DrillInterval)
	piece, err := otlpcodec.EncodeDrill(otlpcodec.Drill{Agent: e.s.Agent, Boot: e.boot, Version: e.s.Version, Time: now})
	if err != nil {
		return e.drillAt // a constant record encodes; without one the drill is missed, and alerted
	}
	var stored bytes.Buffer
	_ = otlpcodec.Compress(&stored, piece.Raw) // fails only if the buffer does
	e.ring.AddDrill(stored.Bytes(), int64(len(piece.Raw)), now)
	return e.drillAt
}
