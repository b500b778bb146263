//go:build !race

package recovery

// manyFlares is what TestManyFlares recovers.
const manyFlares = 10_000
