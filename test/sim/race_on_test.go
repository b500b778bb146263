//go:build race

package sim

// The race detector is slow, and shuffles goroutines on purpose.
const (
	shuffled    = true
	defaultRuns = 2
)
