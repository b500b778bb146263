package ring

import (
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Wish is what a free sender may be given.
type Wish struct {
	Now time.Time
	// Begun is the latest begin of an open frame that is due to be sealed.
	Begun time.Time
	// Spread is 0 while the gateway takes data. Otherwise so many frames, and a
	// few more over time, take turns in trying: neither do bad frames stand for
	// the whole path, nor is every frame of the ring tried once.
	Spread int
	// Suspects says that frames may be given that failed while others were acked.
	Suspects bool
}

// Lease gives a frame to a sender, nil if none is waiting. If first is true the
// frame was never leased before: the caller starts a goroutine for it, which
// lives until Done. If the frame is still open it is sealing now, and Seal must
// be called before Begin.
func (r *Ring) Lease(w Wish) (f *Frame, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.queues[open].first
	if due != nil && due.span.from.After(w.Begun) {
		due = nil
	}
	switch f = r.pick(w, due); f {
	case nil:
		return nil, false
	case due:
		r.takeOpen(f)
		f.try.leased = true
		r.sends.raw++
	default:
		r.move(f, sending)
	}
	return f, f.lease()
}

// lease reports whether f is leased to a sender for the first time.
func (f *Frame) lease() (first bool) {
	if f.done != nil {
		return false
	}
	f.done, f.turn = make(chan struct{}), make(chan struct{}, 1)
	return true
}

// Begin begins an attempt to send a leased frame; cancel ends it when a flare
// takes the frame. The body may be read until release is called, which must
// happen exactly once, and until the attempt ends. If ok is false there is nothing to send: the frame was
// taken by a flare or its fate is known. Every Begin that was ok is followed by
// one of Ack, Nack, Return, Park, Divide and Corrupt.
func (r *Ring) Begin(f *Frame, now time.Time, cancel func()) (v frame.Frame, release func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.state != sending {
		return frame.Frame{}, nil, false
	}
	v, release = r.begin(f, now, cancel)
	return v, release, true
}

// Borrowed is a frame that a flare holds, lent for one attempt.
type Borrowed struct {
	Frame   *Frame
	Value   frame.Frame
	Release func() // as of Begin
	First   bool   // as of Lease
}

// Borrow begins an attempt with a frame that a flare holds, and leaves it
// there: while a flare holds all there is, somebody must ask whether the gateway
// is back. It prefers a frame that was sent before. If ok is false there is none;
// otherwise Ack or Return follows.
func (r *Ring) Borrow(now time.Time, cancel func()) (b Borrowed, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var f *Frame
	for c := r.queues[flaring].first; c != nil; c = c.node.next {
		if !r.isHeld(c) || c.try.busy || c.try.acked {
			continue
		}
		if f == nil || c.done != nil {
			f = c
		}
		if c.done != nil {
			break
		}
	}
	if f == nil {
		return Borrowed{}, false
	}
	f.try.borrowed = true
	r.sends.borrowed++
	v, release := r.begin(f, now, cancel)
	return Borrowed{f, v, release, f.lease()}, true
}

func (r *Ring) begin(f *Frame, now time.Time, cancel func()) (v frame.Frame, release func()) {
	t := &f.try
	if t.last.IsZero() {
		t.lastAcks = r.sends.acks
		if f.id == f.id.Root() { // a half has its parent's
			t.firstAcks = r.counts[f.signal].acks
		}
	}
	t.count++
	t.last, t.busy, t.cancel = now, true, cancel
	f.body.refs += 2 // until the attempt ends, and until release
	return r.value(f, t.count), r.releaser(&f.body)
}

func (r *Ring) releaser(e *extent) func() {
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.release(e)
	}
}

// value returns f as it travels, as the given attempt.
func (r *Ring) value(f *Frame, attempt int64) frame.Frame {
	c := &r.counts[f.signal]
	v := frame.Frame{
		Signal: f.signal, BatchID: f.id, Meta: f.meta, RawSize: f.span.raw, Stored: &f.body,
		Header: frame.Header{
			Agent: r.cfg.Agent, Boot: r.cfg.Boot, Seq: f.seq,
			From: f.span.from.UnixMilli(), To: f.span.to.UnixMilli(),
			Items: f.span.items, Attempt: attempt, Rejected: c.rejected,
		},
	}
	for _, n := range c.lost {
		v.Header.Lost += n
	}
	if v.Header.Lost > 0 {
		v.Header.LostReason = c.lostReason
	}
	return v
}

// end ends the attempt that is running.
func (r *Ring) end(f *Frame) {
	if f.try.borrowed {
		f.try.borrowed = false
		r.sends.borrowed--
	}
	f.try.busy, f.try.cancel = false, nil
	r.release(&f.body)
}

// Ack ends an attempt: the gateway has the frame, but for rejected items. The
// first way out of the ring wins: an ack for a frame that left is a late one.
func (r *Ring) Ack(f *Frame, rejected int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(f)
	c := &r.counts[f.signal]
	c.acks++
	r.sends.acks++
	rejected = max(0, min(rejected, f.span.items))
	switch f.state {
	case held, sending:
		r.deliver(f, rejected)
	case flaring:
		f.try.acked, f.try.rejected = true, rejected
	case out:
		if f.fate != Delivered {
			c.lateAcks += f.span.items
		}
	}
}

func (r *Ring) deliver(f *Frame, rejected int64) {
	c := &r.counts[f.signal]
	c.held -= f.span.items
	c.delivered += f.span.items - rejected
	c.rejected += rejected
	r.leave(f, Delivered)
}

// Failure is what a failed attempt says about a frame.
type Failure struct {
	Failures    int  // attempts that failed while other frames were acked
	OthersAcked bool // another frame of the signal was acked since the first attempt of this one or of what it was cut from
}

// Nack ends an attempt that failed: the frame is held again.
func (r *Ring) Nack(f *Frame) Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	fail := r.fail(f)
	if f.state == sending {
		r.move(f, held)
	}
	return fail
}

// Return ends an attempt that was cancelled: nothing was learned, and the frame
// is held again.
func (r *Ring) Return(f *Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(f)
	if f.state == sending {
		r.move(f, held)
	}
}

// Judge says what Nack would say, without ending the attempt.
func (r *Ring) Judge(f *Frame) Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &f.try
	fail := Failure{t.failures, r.counts[f.signal].acks > t.firstAcks}
	if r.sends.acks > t.lastAcks {
		fail.Failures++
	}
	return fail
}

func (r *Ring) fail(f *Frame) Failure {
	r.end(f)
	t := &f.try
	if r.sends.acks > t.lastAcks {
		t.failures++
		t.lastAcks = r.sends.acks
	}
	t.back = t.failures >= backAfter
	return Failure{t.failures, r.counts[f.signal].acks > t.firstAcks}
}

// backAfter is how often a frame may fail while others are acked before all
// others go first.
const backAfter = 3

// Park ends an attempt: the frame is proven bad and counts as rejected. Its
// bytes stay for a flare of their own.
func (r *Ring) Park(f *Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(f)
	if f.state != sending {
		return
	}
	c := &r.counts[f.signal]
	c.held -= f.span.items
	c.rejected += f.span.items
	r.move(f, parked)
	r.decide(f, Rejected)
}

// Corrupt ends an attempt: the stored bytes are damaged, the frame is lost.
func (r *Ring) Corrupt(f *Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(f)
	if f.state == sending {
		r.lose(f, "corrupt")
	}
}

// LoseAll ends the ring: every frame that is in it is lost for the reason, and
// so are those that are being sealed, once they are. Parked frames are dropped.
func (r *Ring) LoseAll(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = reason
	for s := range r.closed {
		r.closed[s] = true
	}
	r.space.pool.keep(0)
	clear(r.openBy)
	for _, s := range []state{open, held, sending} {
		for f := r.queues[s].first; f != nil; f = r.queues[s].first {
			r.lose(f, reason)
		}
	}
	for _, s := range []state{parked, drilling} {
		for f := r.queues[s].first; f != nil; f = r.queues[s].first {
			r.drop(f)
		}
	}
}
