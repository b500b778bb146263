package ring

import "github.com/otel-lifeline/lifeline/internal/frame"

// Half is one half of a frame that is split, already compressed.
type Half struct {
	Stored []byte // copied
	Raw    int64  // bytes before compression
	Items  int64  // ignored for the right half: it gets the rest
}

// Divide ends an attempt: the halves take the place of the frame in one step.
// What they need beyond the room of the frame is made as for new data. Without
// room, or if the frame cannot be divided any more, Divide returns false and the
// attempt goes on: the caller ends it otherwise.
func (r *Ring) Divide(f *Frame, left, right Half) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.state != sending {
		r.end(f)
		return true // a flare has it, or it is gone
	}
	l, rt, ok := f.id.Halves()
	need := pagesFor(int64(len(left.Stored))) + pagesFor(int64(len(right.Stored))) + 2*f.body.side
	if f.body.refs == 2 { // the ring's and the attempt's: nobody else reads it
		need -= f.body.cost()
	}
	if !ok || r.makeRoom(need) != nil {
		return false
	}
	r.end(f)
	r.leave(f, Split)
	left.Items = min(left.Items, f.span.items)
	right.Items = f.span.items - left.Items
	r.addHalf(f, l, left)
	r.addHalf(f, rt, right)
	return true
}

func (r *Ring) addHalf(parent *Frame, id frame.BatchID, h Half) {
	f := &Frame{
		signal: parent.signal, meta: parent.meta, order: parent.order,
		id: id, seq: parent.seq, span: parent.span, body: r.newBody(parent.meta),
	}
	f.span.items, f.span.raw = h.Items, h.Raw
	f.try.firstAcks = parent.try.firstAcks // an ack of the other half is one of another frame
	f.body.pages = r.space.pool.take(nil, pagesFor(int64(len(h.Stored))))
	if err := f.body.append(h.Stored); err != nil {
		panic(err) // the pages were taken above
	}
	r.enter(f, held)
}
