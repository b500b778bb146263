package lifelinereceiver

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// How long, and how many, acked writes are remembered: at most about 8 MiB.
const (
	rememberFor = time.Minute
	maxAcked    = 1 << 16
)

// joins keeps a batch that is sent again from being written again. A request
// joins the write of the same bytes under the same batch id from the same client;
// if that was acked a moment ago, there is nothing to wait for. Who cannot prove
// to be the same client gets a write of its own: else it would learn what another
// has sent.
type joins struct {
	mu     sync.Mutex
	writes map[joinKey]*write // mu guards the following; in progress, or acked
	acked  []ackedKey         // by time, the oldest first
}

type ackedKey struct {
	key joinKey
	at  time.Time
}

// write is one write to the pipeline, and everyone who waits for it.
type write struct {
	done chan struct{} // closed at its end
	err  error         // set before
}

// joinKey is a digest of who sent what.
type joinKey [sha256.Size]byte

// newJoinKey digests an identity, a batch and the digest of its body.
func newJoinKey(identity [sha256.Size]byte, s frame.Signal, id frame.BatchID, sum digest) joinKey {
	b := make([]byte, 0, 160)
	b = append(b, byte(s))
	b = append(b, identity[:]...)
	b = append(b, sum[:]...)
	b = append(b, id...) // the last one, for it is not of one length
	return sha256.Sum256(b)
}

// begin returns the write of the key, and whether the caller has to do it and
// call end.
func (j *joins) begin(key joinKey) (w *write, first bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.forget()
	if w, ok := j.writes[key]; ok {
		return w, false
	}
	if j.writes == nil {
		j.writes = map[joinKey]*write{}
	}
	w = &write{done: make(chan struct{})}
	j.writes[key] = w
	return w, true
}

// end says how a write ended. One that failed is not remembered: the next
// request writes again.
func (j *joins) end(key joinKey, w *write, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	w.err = err
	close(w.done)
	if err != nil {
		delete(j.writes, key)
		return
	}
	j.acked = append(j.acked, ackedKey{key, time.Now()})
	j.forget()
}

// forget drops acked writes that are too old or too many. The caller holds mu.
func (j *joins) forget() {
	oldest := time.Now().Add(-rememberFor)
	n := max(0, len(j.acked)-maxAcked)
	for n < len(j.acked) && !j.acked[n].at.After(oldest) {
		n++
	}
	for _, a := range j.acked[:n] {
		delete(j.writes, a.key)
	}
	j.acked = j.acked[n:] // append makes a new array when this one is used up
}
