// Package delivery takes encoded telemetry and does not let go of it before its
// fate is known: delivered, flared, rejected or, counted and named, lost.
//
// Decisions (gate, triggers, what an answer means for a frame) are pure
// functions of state and time. One Engine does what they say; it owns every
// goroutine of the package, starts them in Start and has ended them when
// Shutdown returns. All state that is counted lives in the ring, under its lock.
package delivery

import (
	"context"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Settings configures an Engine. All fields but Audience, Version, Flare, Call,
// Random and Observer are required; sizes are bytes.
type Settings struct {
	Agent    string // frame.ValidAgent
	Audience string // may be empty
	Version  string // of the product, for the reports in flares; may be empty

	Frame FrameSettings
	Ring  RingSettings
	Retry RetrySettings

	Senders         int
	NewestFirst     bool
	ShutdownTimeout time.Duration

	Flare     *FlareSettings // nil: no fallback
	Transport otlpsend.Transport
	Call      CallFunc       // nil: do is called directly
	Random    func() float64 // in [0, 1), called concurrently, to spread a fleet over time; nil: a source of its own
	Observer  Observer
}

// FrameSettings bounds a frame.
type FrameSettings struct {
	MaxSize int64         // uncompressed
	Linger  time.Duration // 0: one frame per call, nothing joined
}

// RingSettings bounds the ring.
type RingSettings struct {
	Capacity int64 // stored frames, open frames and the sealed flare together
	MaxAge   time.Duration
	Refuse   bool // when full: refuse new data instead of dropping the oldest
}

// RetrySettings is the backoff of the endpoint.
type RetrySettings struct {
	InitialInterval, MaxInterval time.Duration
	Timeout                      time.Duration // one attempt
}

// FlareSettings is the fallback.
type FlareSettings struct {
	Targets []Target
	MaxSize int64 // one sealed flare; set aside inside the ring's capacity
	Budget  int64 // sealed bytes per day
	// DrillInterval is the time between two drills; 0: none. The first comes
	// after a random part of it, and of an hour.
	DrillInterval time.Duration
	// Sealer returns the keys in force, or an error that names what is wrong
	// with them and the remedy. It is asked once per flare.
	Sealer func() (*flare.Sealer, error)
	// NewID returns the id of a flare, 32 random lower-case hex digits; nil: the
	// process's own.
	NewID func() string
}

// Target is one bucket to try, in the order of FlareSettings.Targets.
type Target struct {
	Name   string // for logs and metrics
	Bucket bucket.Bucket
	Prefix string
}

// CallFunc wraps the whole life of one frame in delivery, from its first lease
// to its fate; do returns nil only when the frame was acked. It lets the
// collector's own exporter counters count acks and nothing else.
type CallFunc func(ctx context.Context, s frame.Signal, items int64, do func(context.Context) error) error

// Observer is told of changes of state, never of single frames. Its functions
// may be nil, must not block and may be called from any goroutine. What
// Gateway and Bucket are told last is so. That no flare can be sealed is told again
// when the reason is another one.
type Observer struct {
	Gateway  func(ok bool, cause otlpsend.Cause, err error)                      // the path to the gateway went down or came back
	Bucket   func(target string, ok bool, err error)                             // a bucket refused or takes flares again; target "" is the keys: no flare could be sealed
	Flared   func(m *flare.Manifest, target string, d time.Duration, size int64) // one flare was stored after d
	Lost     func(s frame.Signal, reason LossReason, items int64)                // items were lost for good
	Rejected func(s frame.Signal, items int64, message string)                   // the server proved items bad
	Dropped  func(s frame.Signal, items int64)                                   // bytes of rejected items were dropped, no bucket has them
}

// LossReason says why items were lost. The set is closed.
type LossReason string

// The reasons of loss.
const (
	LostRingFull     LossReason = "ring_full"
	LostShutdown     LossReason = "shutdown"
	LostBudget       LossReason = "budget"
	LostFlareUnknown LossReason = "flare_unknown"
	LostCorrupt      LossReason = "corrupt"
)
