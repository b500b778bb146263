//go:build race

package sim

// The race detector is slow.
const defaultRuns = 2
