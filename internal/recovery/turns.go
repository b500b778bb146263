package recovery

import (
	"slices"
	"sync"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// turnOf is how many records of a flare go one after the other, if others wait.
const turnOf = 16

// line is where records wait.
type line struct {
	waiting []*outgoing // for room to be sent, in turn
	// cutting holds a value while a record is made halves of. It serves those who
	// wait in the order in which they came.
	cutting chan struct{}
}

// outgoing is what is to be sent of one flare.
type outgoing struct {
	send    func(record) error // brings one record to its fate; its error is the path's
	left    []record
	failed  error // the first one: nothing more is sent
	running int   // senders
	senders sync.WaitGroup
	ended   chan struct{} // closed: nothing is left, and no sender runs
}

// forwardOnce sends every record that is not settled, as many at a time as the
// pacer allows all flares together. When it returns, no request is under way.
func (l *Loop) forwardOnce(send func(record) error, w *work, fl *flare.Flare) error {
	out := &outgoing{send: send, left: unsettled(w, fl), ended: make(chan struct{})}
	if len(out.left) == 0 {
		return nil
	}
	l.line.waiting = append(l.line.waiting, out)
	l.startSenders()
	l.outside(func() {
		<-out.ended
		out.senders.Wait()
	})
	return out.failed
}

// unsettled returns the records that are to be sent.
func unsettled(w *work, fl *flare.Flare) []record {
	left := make([]record, 0, len(fl.Frames))
	for i, f := range fl.Frames {
		if r := (record{Frame: f, text: fl.Manifest.Records[i].Frame}); !w.settled(r.key()) {
			left = append(left, r)
		}
	}
	return left
}

// startSenders starts a sender for the flare whose turn it is, as long as there is
// room for one. Whoever makes room calls it before giving up the lock: so the order
// of records, and of their slots, is that in which flares came and answers come,
// and not that in which goroutines wake up.
func (l *Loop) startSenders() {
	for len(l.line.waiting) > 0 && l.pace.maySend() {
		out := l.line.waiting[0]
		l.line.waiting = slices.Delete(l.line.waiting, 0, 1) // no slice of the rest: it would keep the records of out
		r, ok := l.next(out)
		if !ok {
			continue // its senders took the rest, or failed
		}
		l.line.waiting = append(l.line.waiting, out)
		out.running++
		out.senders.Go(func() { l.sendTurn(out, r) })
	}
}

// next takes the next record of a flare and a slot for it, if there is room.
func (l *Loop) next(out *outgoing) (r record, ok bool) {
	if ok = len(out.left) > 0 && l.pace.maySend(); ok {
		l.pace.busy.sends++
		r, out.left = out.left[0], out.left[1:]
		r.wait = l.pace.reserve(r.Stored.Len())
	}
	return r, ok
}

// sendTurn sends a record, and the next ones as long as it may: a fresh goroutine
// for each would cost a tenth of all CPU. But it ends after a turn, so that a large
// flare does not keep small ones waiting.
func (l *Loop) sendTurn(out *outgoing, r record) {
	l.state.Lock()
	defer l.state.Unlock()
	for n, ok := 1, true; ok; n++ {
		if err := out.send(r); err != nil && out.failed == nil {
			out.failed, out.left = err, nil
			l.breaks(err) // before others begin
		}
		l.pace.busy.sends--
		if ok = n < turnOf; ok {
			r, ok = l.next(out)
		}
		l.startSenders()
	}
	if out.running--; out.running == 0 && len(out.left) == 0 {
		out.left = nil // it may stand in line for a while
		close(out.ended)
	}
}
