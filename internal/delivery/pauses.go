package delivery

import (
	"time"

	"github.com/otel-lifeline/lifeline/internal/ring"
)

// pauses are the times before which no flare of a kind begins, by kind. A
// shutdown does not wait for them. It is pure.
type pauses [ring.Drill + 1]time.Time

// failed puts off the flares after one that failed: telemetry waits only for
// telemetry, all others wait for every kind.
func (p *pauses) failed(k ring.Kind, until time.Time) {
	for i := range p {
		if k == ring.Telemetry || ring.Kind(i) != ring.Telemetry {
			p[i] = later(p[i], until)
		}
	}
}
