package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// The objects of recovery's own under the state prefix.

func (s *Settings) doneKey(id string) string { return s.StatePrefix + "done/" + id }

func (s *Settings) tryKey(id string, d danger, n int) string {
	return s.StatePrefix + "try/" + id + "." + string(d) + strconv.Itoa(n)
}

func (s *Settings) quarantineKey(reason, id string) string {
	return s.StatePrefix + "quarantine/" + reason + "/" + id + ".age"
}

// untouched says why objects are never touched. Anyone who may write to the
// bucket can make any number of them, so they are counted and not remembered.
var untouched = map[string]error{
	"foreign":   errors.New("the key has not the form of a flare's: Lifeline never touches it"),
	"too_large": errors.New("larger than 64 MiB: not a flare of any agent"),
}

// listing is what a pass finds in the bucket. It keeps no more objects than one
// pass takes on.
type listing struct {
	unmarked []object                   // forwarded, but not written down
	fresh    []object                   // pending
	relooks  []object                   // waiting or stuck, and due
	probes   [frame.NumSignals]object   // the next one to tell whether a signal is still refused
	more     bool                       // there are more fresh objects
	rekeyed  int                        // relooks for which there are other keys
	oldest   time.Duration              // age of the oldest pending object
	pending  int                        // number of pending objects
	never    map[string]*untouchedFound // by reason
}

type untouchedFound struct {
	n       int
	example bucket.Info
}

// list goes through the whole bucket. Nothing is fetched: key, size and age are
// all it needs.
func (l *Loop) list(ctx context.Context) (*listing, error) {
	found := &listing{never: map[string]*untouchedFound{}}
	for reason := range untouched {
		found.never[reason] = &untouchedFound{}
	}
	err := l.each(ctx, l.s.Prefix, func(info bucket.Info, date time.Time) { l.see(found, info, date) })
	if err != nil {
		return nil, err
	}
	l.prune()
	l.update(func(s *Snapshot) {
		s.Pending, s.OldestPending, s.LastPass = found.pending, found.oldest, time.Now()
	})
	for reason, u := range found.never {
		l.never(reason, u)
	}
	return found, nil
}

// see looks up what is known of a listed object.
func (l *Loop) see(found *listing, info bucket.Info, date time.Time) {
	id, ok := flare.KeyID(l.s.Prefix, info.Key)
	switch {
	case !ok:
		found.never["foreign"].add(info)
		return
	case info.Size > flare.MaxObject:
		found.never["too_large"].add(info)
		return
	}
	if t := l.tries.of(id); t != nil {
		t.listed = true
	}
	delete(l.keeping.old, id) // a marker is needed as long as the flare is there
	o := object{Info: info, id: id, pending: true}
	m := l.memos[info.Key]
	if m != nil && m.etag == info.ETag {
		m.pass = l.round.n
		o.failures, o.pending = m.failures, m.state == ""
		if m.work != nil {
			o.signer = m.work.marker.Principal
		}
	} else {
		m = nil
		if len(l.memos) >= maxMemos {
			o.lot = l.s.Random()
		}
	}
	if !l.ours(id) {
		l.seeOthers(found, o, m, date)
		return
	}
	if o.pending {
		found.pending++
		found.oldest = max(found.oldest, date.Sub(info.LastModified))
		found.addFresh(o)
		return
	}
	o.looked = m.looked
	switch {
	case len(m.todo) > 0 && m.todo[0] == StepMarker:
		found.unmarked = append(found.unmarked, o)
	case m.reason == reasonDoubt && m.keys == l.keys && !l.provable(m.work):
		found.addProbe(o, m.work)
	case m.isDue(l.keys, time.Now()):
		if found.addRelook(o); m.state == Waiting && m.keys != l.keys {
			found.rekeyed++
		}
	}
}

// seeOthers looks up an object that this process does not work on. What is to be
// done for it stays remembered; its state is shown by whoever works on it, and by
// everybody if nobody does.
func (l *Loop) seeOthers(found *listing, o object, m *memo, date time.Time) {
	switch {
	case m != nil && len(m.todo) == 0 && m.work == nil:
		l.forget(o.Key)
	case m != nil:
		l.moved(m, "", "")
	}
	if l.nobodys(o.id) {
		found.pending++
		found.oldest = max(found.oldest, date.Sub(o.LastModified))
	}
}

func (u *untouchedFound) add(info bucket.Info) {
	u.n, u.example = u.n+1, info
}

func (f *listing) addFresh(o object) {
	if f.fresh = append(f.fresh, o); len(f.fresh) >= 2*maxVisits {
		f.fresh, f.more = takeTurns(f.fresh, maxVisits), true
	}
}

func (f *listing) addRelook(o object) {
	if f.relooks = append(f.relooks, o); len(f.relooks) >= 2*maxRelooks {
		f.relooks = takeTurns(f.relooks, maxRelooks)
	}
}

// addProbe keeps one flare of each signal whose records are refused: while a
// server refuses all of them, one says as much as a thousand.
func (f *listing) addProbe(o object, w *work) {
	for _, d := range w.doubt {
		if p := &f.probes[d.signal]; p.id == "" || goesBefore(o, *p) < 0 {
			*p = o
		}
	}
}

// turns returns the objects of a pass in the order of their turns, but for what
// was forwarded and not written down: that goes first, and while it fails,
// nothing else may be forwarded.
func (f *listing) turns() []object {
	f.more = f.more || len(f.fresh) > maxVisits || f.rekeyed > maxRelooks
	turns := slices.Concat(takeTurns(f.fresh, maxVisits), takeTurns(f.relooks, maxRelooks))
	for i, p := range f.probes {
		if p.id != "" && !slices.ContainsFunc(f.probes[:i], func(o object) bool { return o.Key == p.Key }) {
			turns = append(turns, p)
		}
	}
	return turns
}

// never shows how many objects are not touched for a reason, and tells it when
// there are more than before.
func (l *Loop) never(reason string, u *untouchedFound) {
	before := l.keeping.untouched[reason]
	l.keeping.untouched[reason] = u.n
	l.update(func(s *Snapshot) { s.count(Waiting, reason, u.n-before) })
	if u.n > before {
		l.tell(Event{
			Key: u.example.Key, State: Waiting, Reason: reason, Bytes: u.example.Size,
			Err: fmt.Errorf("one of %d objects: %w", u.n, untouched[reason]),
		})
	}
}

// prune forgets objects that are not in the bucket any more, and has the try
// markers removed that they left.
func (l *Loop) prune() {
	for key, m := range l.memos {
		if m.pass != l.round.n {
			l.forget(key)
		}
	}
	l.tries.abandon()
}
