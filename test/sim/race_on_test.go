//go:build race

package sim

// The race detector shuffles goroutines on purpose.
const shuffled = true
