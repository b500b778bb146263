package lifelinereceiver

import (
	"math/bits"
	"sync"
)

// Buffers from 4 KiB to 1 MiB are used again, in steps of two: so a free one is
// never more than twice what was asked for. Larger ones are rare and left to the
// garbage collector.
const (
	minBufferBits = 12
	maxBufferBits = 20
)

var buffers [maxBufferBits - minBufferBits + 1]sync.Pool // of *[]byte

// newBuffer returns an empty buffer of at least size bytes.
func newBuffer(size int64) []byte {
	class := bufferClass(size)
	if class >= len(buffers) {
		return make([]byte, 0, size)
	}
	if b, ok := buffers[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<(class+minBufferBits))
}

// freeBuffer gives a buffer back. The caller must be sure that nobody reads or
// writes it any more; who is not just does not call it.
func freeBuffer(b []byte) {
	class := bufferClass(int64(cap(b)))
	if class < len(buffers) && cap(b) == 1<<(class+minBufferBits) {
		buffers[class].Put(&b)
	}
}

// bufferClass returns the index of the smallest buffers of at least size bytes.
func bufferClass(size int64) int {
	return max(0, bits.Len64(uint64(max(size, 1)-1))-minBufferBits)
}
