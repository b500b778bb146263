package recovery

import (
	"context"
	"errors"
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// decide settles what becomes of a flare, and does it.
func (l *Loop) decide(ctx context.Context, o object, m *memo, f fate) error {
	m.fate, m.todo = f, f.steps()
	return l.finish(ctx, o, m)
}

// finish does what is left to do for a flare whose fate is known. A step that
// fails is tried again in every pass, by itself: nothing before it is repeated
// by this process. Only a failed marker ends the pass: a loop that cannot
// write down what it forwarded must not forward more.
func (l *Loop) finish(ctx context.Context, o object, m *memo) error {
	for len(m.todo) > 0 {
		step := m.todo[0]
		err := l.step(ctx, step, o, m)
		if err != nil && ctx.Err() != nil {
			err = l.stepAtTheEnd(ctx, step, o, m)
		}
		switch {
		case errors.Is(err, errGone):
			l.forget(o.Key)
			return nil
		case err != nil && ctx.Err() != nil:
			return ctx.Err() // nobody's fault; done again by the next process
		case err != nil:
			if l.moved(m, Stuck, string(step)) {
				l.tell(l.event(o, m, Stuck, string(step), err))
			}
			if step == StepMarker {
				return bucketPath(err)
			}
			return nil
		}
		m.todo = m.todo[1:]
	}
	l.forget(o.Key)
	l.round.moved = true
	l.pace.settled()
	if !m.fate.done {
		l.tell(l.event(o, m, m.fate.state, m.fate.reason, m.fate.err))
	}
	return nil
}

// stepAtTheEnd makes a step that was cut off because Run was told to stop: what was
// forwarded and is not written down would be forwarded again. Each step may have had
// its effect already, and may have it twice.
func (l *Loop) stepAtTheEnd(ctx context.Context, step Step, o object, m *memo) error {
	ctx, cancel := l.bucket.tidying(ctx)
	defer cancel()
	return l.step(ctx, step, o, m)
}

// step has one effect. crash before it: the next process comes to the same
// fate and does it.
func (l *Loop) step(ctx context.Context, step Step, o object, m *memo) error {
	switch step {
	case StepCopy:
		// crash after it: the flare is judged again and copied over its copy.
		return l.quarantine(ctx, o, m.fate.reason)
	case StepMarker:
		// crash after it: the next process finds the marker and only deletes.
		return l.mark(ctx, o.id, m.work)
	default:
		// crash after it: nothing is left to do.
		_, err := l.bucket.Delete(ctx, o.Key)
		return err
	}
}

// quarantine copies a flare to where nothing is deleted, if there is room.
func (l *Loop) quarantine(ctx context.Context, o object, reason string) error {
	if l.keeping.quarantined+o.Size > l.s.QuarantineMaxBytes {
		return fmt.Errorf("quarantine holds %d bytes and may hold %d: look through it and make room, or raise quarantine::max_bytes",
			l.keeping.quarantined, l.s.QuarantineMaxBytes)
	}
	l.keeping.quarantined += o.Size // before it is there: others copy at the same time
	if _, err := l.bucket.Copy(ctx, o.Key, l.s.quarantineKey(reason, o.id)); err != nil {
		l.keeping.quarantined -= o.Size
		if bucket.KindOf(err) == bucket.NotFound {
			return errGone // and nothing is deleted on the word of an answer that may be wrong
		}
		return err
	}
	return nil
}

// event describes a flare that reached a state.
func (l *Loop) event(o object, m *memo, s State, reason string, err error) Event {
	var e Event
	if m.work != nil {
		e = m.work.event
	}
	e.Key, e.Bytes, e.State, e.Reason, e.Err = o.Key, o.Size, s, reason, err
	return e
}
