//go:build race

package recovery

// manyFlares is what TestManyFlares recovers: the race detector makes the
// cryptography of each ten times as slow.
const manyFlares = 1000
