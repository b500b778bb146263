package ring

import "sync"

// PageSize is the unit in which the ring takes and counts memory, in bytes.
const PageSize = 4096

// A chunk is what is taken from the system and given back at once.
const (
	chunkPages = 64 // one bit each in a word
	chunkSize  = chunkPages * PageSize
)

// memory is where chunks come from and go to.
type memory interface {
	// get returns chunkSize bytes.
	get() ([]byte, error)
	// put takes back what get returned. Nobody reads or writes it any more.
	put(chunk []byte)
}

// heap is the Go heap as memory: where there is nothing else, and when the
// system has no mapping left to give.
type heap struct{}

// heapChunks keeps chunks for the next frame until the garbage is collected.
var heapChunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func (heap) get() ([]byte, error) { return heapChunks.Get().(*[chunkSize]byte)[:], nil }

func (heap) put(chunk []byte) { heapChunks.Put((*[chunkSize]byte)(chunk)) }
