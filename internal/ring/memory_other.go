//go:build !unix || race

package ring

// system returns where a ring's chunks come from: no mmap here, or the race
// detector, which does not see memory outside the heap.
func system() memory { return heap{} }
