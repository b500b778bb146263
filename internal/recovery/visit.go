package recovery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// Reasons that recovery gives itself; the others come from flare.Error.
const (
	reasonPoison     = "poison"         // quarantine: three processes died opening it
	reasonBadDrill   = "bad_drill"      // quarantine: says it is a drill, holds more than that
	reasonRejected   = "rejected"       // quarantine: a flare of data that a gateway had proven bad
	reasonRefused    = "refused_record" // quarantine: the gateway proved a record bad
	reasonDoubt      = "refused"        // waiting: a record was refused, nothing was acked since
	reasonUnreadable = "unreadable"     // waiting: the store refuses to hand it out
)

var errPoison = fmt.Errorf("%d processes died opening it", maxTries)

// visit takes one flare as far as it goes. Its error ends the pass.
func (l *Loop) visit(ctx context.Context, o object) error {
	if !l.ours(o.id) {
		return nil
	}
	m := l.memo(o)
	m.looked = l.round.n
	if len(m.todo) > 0 {
		return l.finish(ctx, o, m)
	}
	keys := l.s.Keys()
	if l.keys = keys; keys == nil {
		return nil
	}
	m.by = keys
	// Whatever is found below, an id in done/ was taken once and never is again.
	done, err := l.isDone(ctx, o.id)
	switch {
	case err != nil:
		return err
	case done:
		return l.decide(ctx, o, m, fate{done: true})
	case l.tries.of(o.id).deadly():
		return l.decide(ctx, o, m, fate{state: Quarantined, reason: reasonPoison, err: errPoison})
	}
	fl, badDrill, err := l.open(ctx, o, keys)
	if err != nil {
		return l.notOpened(ctx, o, m, err)
	}
	if m.work == nil {
		m.work = newWork()
	}
	m.work.verified(keys, fl)
	err = l.take(ctx, o, m, fl, badDrill)
	l.release(o.Size) // of the records
	return err
}

// open fetches a flare, verifies it, and decodes it if it is a drill: badDrill
// says what is wrong with it then.
func (l *Loop) open(ctx context.Context, o object, keys *Keys) (fl *flare.Flare, badDrill, err error) {
	// crash here: nothing has happened yet.
	defer l.untry(ctx, o.id, opening)
	if err := l.try(ctx, o.id, opening); err != nil {
		return nil, nil, bucketPath(err)
	}
	// crash from here until untry: the marker stays and the next process counts
	// it, so that a flare that kills every process that opens it is put away
	// unopened after three of them.
	said := flare.Object{ID: o.id, LastModified: o.LastModified, Date: o.Date}
	var judged error // by the beginning alone: nothing behind it is fetched
	data, _, err := l.bucket.Get(ctx, o.Key, bucket.GetOptions{Limit: flare.MaxObject, Need: func(read []byte) (need int64) {
		need, judged = keys.Opener.Look(said, read)
		return need
	}})
	if err != nil {
		return nil, nil, getFailed(err)
	}
	l.round.read = true
	read := int64(len(data))
	var sum [sha256.Size]byte
	l.frugally(read, func() {
		if err = judged; err == nil {
			fl, err = keys.Opener.Open(said, data)
		}
		switch {
		case isBad(err):
			sum = sha256.Sum256(data)
		case err == nil && fl.Manifest.Reason == flare.Drill:
			badDrill = checkDrill(fl)
		}
		data = nil
	})
	l.release(read) // of the sealed bytes: one copy of a large object in memory is enough
	if isBad(err) {
		need := int64(flare.MaxObject)
		if judged != nil {
			need = read
		}
		if err := l.readAgain(ctx, o, need, sum); err != nil {
			return nil, nil, err
		}
	}
	if err != nil {
		return nil, nil, err
	}
	l.opened(keys, fl.Identity)
	return fl, badDrill, nil
}

// isBad reports whether err is for ever.
func isBad(err error) bool {
	e, ok := errors.AsType[*flare.Error](err)
	return ok && e.Bad
}

// readAgain fetches what an object that is to be put away as bad was judged by once
// more. Bytes that differ were altered on the way, and prove nothing against it.
func (l *Loop) readAgain(ctx context.Context, o object, need int64, sum [sha256.Size]byte) error {
	data, _, err := l.bucket.Get(ctx, o.Key, bucket.GetOptions{Limit: flare.MaxObject, Need: func([]byte) int64 { return need }})
	if err != nil {
		return getFailed(err)
	}
	same, read := sha256.Sum256(data) == sum, int64(len(data))
	l.release(read)
	if !same {
		return bucketPath(fmt.Errorf("%s: %w", o.Key, errOtherBytes))
	}
	return nil
}

var errGone = errors.New("the object is not there any more")

// unreadableError is a store that refuses one object. It is the object's fault
// only if others can be read, or if the store says so.
type unreadableError struct {
	err error
	own bool // the object is archived
}

func (e *unreadableError) Error() string { return e.err.Error() }

func getFailed(err error) error {
	switch bucket.KindOf(err) {
	case bucket.NotFound:
		return errGone
	case bucket.TooLarge:
		return &flare.Error{Reason: "too_large", Err: err}
	case bucket.Denied, bucket.Refused:
		return &unreadableError{err: err, own: bucket.CodeOf(err) == "InvalidObjectState"}
	default:
		return bucketPath(err)
	}
}

// notOpened sorts a flare by why it could not be opened.
func (l *Loop) notOpened(ctx context.Context, o object, m *memo, err error) error {
	if errors.Is(err, errGone) {
		l.forget(o.Key) // somebody else took it
		return nil
	}
	if u, ok := errors.AsType[*unreadableError](err); ok {
		if u.own {
			l.wait(o, m, reasonUnreadable, lookAgain, u.err)
		} else {
			l.round.unreadable = append(l.round.unreadable, unread{o, u.err})
		}
		return nil
	}
	if bad, ok := errors.AsType[*flare.Error](err); ok {
		if bad.Bad {
			return l.decide(ctx, o, m, fate{state: Quarantined, reason: bad.Reason, err: bad.Err})
		}
		l.wait(o, m, bad.Reason, lookAgain, bad.Err)
		return nil
	}
	return err
}

// take decides what becomes of a verified flare.
func (l *Loop) take(ctx context.Context, o object, m *memo, fl *flare.Flare, badDrill error) error {
	switch fl.Manifest.Reason {
	case flare.Drill:
		if badDrill != nil {
			return l.decide(ctx, o, m, fate{state: Quarantined, reason: reasonBadDrill, signed: true, err: badDrill})
		}
		return l.decide(ctx, o, m, fate{state: Drilled})
	case flare.Rejected:
		return l.decide(ctx, o, m, fate{state: Quarantined, reason: reasonRejected, signed: true})
	default:
		return l.bringBack(ctx, o, m, fl)
	}
}

// bringBack forwards what was not acked yet. crash here: the acks are forgotten
// and the next process sends everything again, with the same batch ids. A process
// that is told to stop has time not to come to that.
func (l *Loop) bringBack(ctx context.Context, o object, m *memo, fl *flare.Flare) error {
	if err := l.forward(ctx, m.work, fl); err != nil {
		return err
	}
	w := m.work
	switch {
	case len(w.doubt) > 0:
		l.wait(o, m, reasonDoubt, 0, w.whyDoubt())
		w.forgetDoubts()
		return nil
	case len(w.bad) > 0:
		return l.decide(ctx, o, m, fate{state: Quarantined, reason: reasonRefused, signed: true, err: w.whyBad()})
	default:
		return l.decide(ctx, o, m, fate{state: Recovered})
	}
}
