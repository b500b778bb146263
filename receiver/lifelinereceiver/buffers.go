package lifelinereceiver

import (
	"math/bits"
	"slices"
	"sync"
)

// Buffers from 4 KiB to 1 MiB are used again, in steps of two: so a free one is
// never more than twice what was asked for. Larger ones are rare, but made anew
// for every request of a flood they would fill memory faster than a busy
// processor collects it: a few of them are kept.
const (
	minBufferBits = 12
	maxBufferBits = 20
)

var (
	buffers [maxBufferBits - minBufferBits + 1]sync.Pool // of *[]byte
	large   spares
)

// newBuffer returns an empty buffer of at least size bytes.
func newBuffer(size int64) []byte {
	class := bufferClass(size)
	if class >= len(buffers) {
		return large.get(size)
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
	switch {
	case class >= len(buffers):
		large.put(b)
	case cap(b) == 1<<(class+minBufferBits):
		buffers[class].Put(&b)
	}
}

// bufferClass returns the index of the smallest buffers of at least size bytes.
func bufferClass(size int64) int {
	return max(0, bits.Len64(uint64(max(size, 1)-1))-minBufferBits)
}

// spares are large buffers that nobody uses, the last one freed at the end.
type spares struct {
	mu    sync.Mutex
	free  [][]byte // mu guards the following
	bytes int64    // of free
}

const (
	maxSpareBytes = 64 << 20
	sizeStep      = 1 << 18 // of large buffers, so that they fit again
)

// get returns a buffer of at least size bytes and at most a quarter more.
func (s *spares) get(size int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, b := range slices.Backward(s.free) {
		if n := int64(cap(b)); n >= size && n <= size+size/4+sizeStep {
			s.free = slices.Delete(s.free, i, i+1)
			s.bytes -= n
			return b[:0]
		}
	}
	return make([]byte, 0, (size+sizeStep-1)/sizeStep*sizeStep)
}

// put keeps b and lets go of the oldest that are too many.
func (s *spares) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(cap(b)) > maxSpareBytes {
		return
	}
	s.free = append(s.free, b)
	s.bytes += int64(cap(b))
	for s.bytes > maxSpareBytes {
		s.drop()
	}
}

// age lets go of the oldest one. It is called now and then, so that a burst
// does not keep its memory.
func (s *spares) age() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) > 0 {
		s.drop()
	}
}

func (s *spares) drop() {
	s.bytes -= int64(cap(s.free[0]))
	s.free = slices.Delete(s.free, 0, 1)
}
