//go:build !race

package sim

const defaultRuns = fewRuns
