package ring

import (
	"slices"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Flare is some frames that are leased to a flare: pinned until Stored, GiveUp
// or Lose ends the lease. The caller's goroutine owns it.
type Flare struct {
	frames []*Frame
	kind   Kind
}

// Kind is what a flare holds. Kinds never mix.
type Kind uint8

// The kinds.
const (
	Telemetry Kind = iota // what is held, and what senders have
	Parked                // what the server proved bad
	Drill                 // the drill
)

// FlareWish says which frames a flare may take.
type FlareWish struct {
	Kind Kind
	// Fits reports whether a flare may hold n frames of so many stored bytes
	// and bytes of metadata in all. It is called under the lock.
	Fits func(n int, stored, meta int64) bool
}

// Take leases frames to a flare, oldest first, those included that are leased to
// senders: their attempts are cancelled before it returns. It returns nil when
// there is nothing to take.
func (r *Ring) Take(w FlareWish) *Flare {
	fl, cancels := r.take(w)
	for _, cancel := range cancels {
		cancel()
	}
	return fl
}

func (r *Ring) take(w FlareWish) (*Flare, []func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fl := &Flare{kind: w.Kind}
	var cancels []func()
	var stored, meta int64
	for f := r.oldest(w.Kind, nil); f != nil; {
		next := r.oldest(w.Kind, f)
		size := stored + f.body.size
		m := meta + metaSize(f.meta)
		if !w.Fits(len(fl.frames)+1, size, m) {
			if len(fl.frames) > 0 {
				break
			}
			f = next // this one fits no flare at all: others may
			continue
		}
		stored, meta = size, m
		fl.frames = append(fl.frames, f)
		if f.try.cancel != nil {
			cancels = append(cancels, f.try.cancel)
		}
		r.move(f, flaring)
		f = next
	}
	if len(fl.frames) == 0 {
		return nil, nil
	}
	return fl, cancels
}

// oldest returns the oldest frame that a flare may take, or the next one after
// prev. It must be called before prev is moved.
func (r *Ring) oldest(k Kind, prev *Frame) *Frame {
	switch {
	case k == Telemetry:
	case prev != nil:
		return prev.node.next
	case k == Parked:
		return r.queues[parked].first
	default:
		return r.queues[drilling].first
	}
	h, s := r.queues[held].first, r.queues[sending].first
	if prev != nil {
		if prev.state == held {
			h = prev.node.next
		} else {
			s = prev.node.next
		}
	}
	if h == nil || s != nil && s.order < h.order {
		return s
	}
	return h
}

// metaSize returns the bytes of meta as they travel.
func metaSize(meta map[string][]string) int64 {
	n := 0
	for k, values := range meta {
		n += len(k)
		for _, v := range values {
			n += len(v)
		}
	}
	return int64(n)
}

// sidePages returns the pages that meta counts as. It lives on the Go heap, which
// grows to about twice of what lives on it.
func sidePages(meta map[string][]string) int64 {
	if len(meta) == 0 {
		return 0
	}
	const entry = 64 // bytes of a key's or value's place in the map
	n := metaSize(meta)
	for _, values := range meta {
		n += entry * int64(1+len(values))
	}
	return pagesFor(2 * n)
}

// Fix fixes what the flare holds and returns it. Frames that were acked since
// Take are delivered and left out; an ack that comes later is remembered until
// the lease ends. The bodies may be read until the lease ends. If nothing is
// left the lease has ended.
func (r *Ring) Fix(fl *Flare) []frame.Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	var values []frame.Frame
	kept := fl.frames[:0]
	for _, f := range fl.frames {
		if f.try.acked {
			r.deliver(f, f.try.rejected)
			continue
		}
		kept = append(kept, f)
		values = append(values, r.value(f, f.try.count+1))
	}
	clear(fl.frames[len(kept):])
	fl.frames = kept
	return values
}

// Stored ends the lease: a bucket has the frames. Telemetry is flared, also what
// was acked meanwhile; for parked frames and a drill nothing is counted.
func (r *Ring) Stored(fl *Flare, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range fl.frames {
		if fl.kind == Telemetry {
			c := &r.counts[f.signal]
			c.held -= f.span.items
			c.flared[reason] += f.span.items
			if f.try.acked {
				c.lateAcks += f.span.items
			}
		}
		r.leave(f, Flared)
	}
	fl.frames = nil
}

// GiveUp ends the lease: the flare is not stored, as far as is known, and its
// frames wait again as they did; after LoseAll they are lost like all others.
// Those acked meanwhile are delivered. Unknown says that a PUT may have stored it
// after all.
func (r *Ring) GiveUp(fl *Flare, unknown bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range slices.Backward(fl.frames) { // each one belongs before the last
		switch {
		case f.try.acked || r.ended != "":
			r.loseLeased(f, fl.kind, r.ended)
		case fl.kind == Parked:
			r.move(f, parked)
		case fl.kind == Drill:
			r.move(f, drilling)
		default:
			if unknown {
				f.try.count++
			}
			r.move(f, held)
		}
	}
	fl.frames = nil
}

// Lose ends the lease: the frames are lost for the reason. Those acked
// meanwhile are delivered, parked ones and a drill dropped.
func (r *Ring) Lose(fl *Flare, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range fl.frames {
		r.loseLeased(f, fl.kind, reason)
	}
	fl.frames = nil
}

func (r *Ring) loseLeased(f *Frame, k Kind, reason string) {
	switch {
	case k == Parked:
		r.news.ParkedDropped[f.signal] += f.span.items
		r.leave(f, Rejected)
	case k == Drill:
		r.leave(f, Lost) // it is in no counter
	case f.try.acked:
		r.deliver(f, f.try.rejected)
	default:
		r.lose(f, reason)
	}
}

// DropReason sets why frames that are dropped for room are lost from now on.
func (r *Ring) DropReason(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = reason
}
