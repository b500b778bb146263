package ring

// pick returns the frame that is sent next: a held one, or due, an open one that
// may be sealed now, nil if there is none. Of the suspects one at a time is sent:
// together they would keep every sender from what comes in meanwhile.
func (r *Ring) pick(w Wish, due *Frame) *Frame {
	suspects := w.Suspects && !r.suspectOut()
	if w.Spread > 0 {
		return r.pickProbe(w.Spread, suspects, due)
	}
	if due != nil && r.cfg.NewestFirst {
		return due
	}
	var last *Frame
	for f := r.start(); f != nil; f = r.after(f) {
		switch {
		case f.try.busy, f.suspect() && !suspects:
		case !f.try.back:
			return f
		case last == nil:
			last = f
		}
	}
	if due != nil {
		return due
	}
	return last
}

// suspect reports whether f failed while others were acked: that tells nothing
// about the path, and something about f.
func (f *Frame) suspect() bool { return f.try.failures > 0 }

func (r *Ring) suspectOut() bool {
	for f := r.queues[sending].first; f != nil; f = f.node.next {
		if f.suspect() {
			return true
		}
	}
	return false
}

// pickProbe returns a frame that was not tried while fewer than spread were, and
// then, in turn, those that were, and after half a round of them one more that was
// not: frames that are bad themselves never keep the others from being tried.
// A suspect is asked only when there is no other.
func (r *Ring) pickProbe(spread int, suspects bool, due *Frame) *Frame {
	var oldest, suspect *Frame
	tried := 0
	for _, f := range r.tried {
		switch {
		case f.try.busy:
		case !f.suspect():
			tried++
			oldest = earlier(oldest, f)
		case suspects:
			suspect = earlier(suspect, f)
		}
	}
	first, last := r.fresh(false), r.fresh(true)
	if first == nil {
		first, last = due, due
	}
	switch {
	case first != nil && (tried < spread || 2*r.sends.probes.round >= tried):
		r.sends.probes.round = 0
		if r.sends.probes.last = !r.sends.probes.last; r.sends.probes.last {
			return first
		}
		return last // what is bad came together, as a rule
	case oldest != nil:
		r.sends.probes.round++
		return oldest
	}
	return suspect
}

// fresh returns the first held frame in the order of sending that was never
// tried, or the last one. It walks past those that were, and no others.
func (r *Ring) fresh(last bool) *Frame {
	newest := r.cfg.NewestFirst != last
	f := r.queues[held].first
	if newest {
		f = r.queues[held].last
	}
	for f != nil && (f.done != nil || f.try.busy) {
		if newest {
			f = f.node.prev
		} else {
			f = f.node.next
		}
	}
	return f
}

// probes is how far the frames that were tried have taken their turns.
type probes struct {
	round int  // since one was picked that was not tried before
	last  bool // that one was the first in the order of sending
}

// earlier returns the frame whose latest attempt is longer ago.
func earlier(a, b *Frame) *Frame {
	if a == nil || b.try.last.Before(a.try.last) {
		return b
	}
	return a
}

// start and after walk over the held frames in the order of sending.
func (r *Ring) start() *Frame {
	if r.cfg.NewestFirst {
		return r.queues[held].last
	}
	return r.queues[held].first
}

func (r *Ring) after(f *Frame) *Frame {
	if r.cfg.NewestFirst {
		return f.node.prev
	}
	return f.node.next
}
