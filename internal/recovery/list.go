package recovery

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// The objects of recovery's own under the state prefix.

func (s *Settings) doneKey(id string) string { return s.StatePrefix + "done/" + id }

func (s *Settings) tryKey(id string, n int) string {
	return s.StatePrefix + "try/" + id + "." + strconv.Itoa(n)
}

func (s *Settings) quarantineKey(reason, id string) string {
	return s.StatePrefix + "quarantine/" + reason + "/" + id + ".age"
}

var (
	errForeign  = errors.New("the key has not the form of a flare's: Lifeline never touches it")
	errTooLarge = errors.New("larger than 64 MiB: not a flare of any agent")
)

// list goes through the whole bucket, and returns the objects this pass takes on
// in the order of their turns. Nothing is fetched: key, size and age are all it
// needs.
func (l *Loop) list(ctx context.Context) (turns []object, more bool, err error) {
	var objects []object
	var oldest time.Duration
	pending := 0
	err = l.each(ctx, l.s.Prefix, func(info bucket.Info, date time.Time) {
		o, m := l.see(info)
		if o.id == "" {
			return
		}
		if o.pending {
			pending++
			oldest = max(oldest, date.Sub(info.LastModified))
		}
		if !m.due(l.keys, time.Now()) {
			return
		}
		if objects = append(objects, o); len(objects) >= 2*maxVisits {
			objects, more = keepFirst(objects, maxVisits), true
		}
	})
	if err != nil {
		return nil, false, err
	}
	more = more || len(objects) > maxVisits
	objects = keepFirst(objects, maxVisits)
	l.prune(ctx)
	l.update(func(s *Snapshot) {
		s.Pending, s.OldestPending, s.LastPass = pending, oldest, time.Now()
	})
	return takeTurns(objects), more, nil
}

var fresh = new(memo) // of every object never seen before; not modified

// see looks up what is known of a listed object. Objects that are never touched
// come back without an id.
func (l *Loop) see(info bucket.Info) (object, *memo) {
	id, ok := flare.KeyID(l.s.Prefix, info.Key)
	o := object{Info: info, id: id}
	m := l.memos[info.Key]
	if m == nil || m.etag != info.ETag {
		m = fresh
	} else {
		m.pass = l.passes
		o.again, o.failures = m.state == Waiting, m.failures
	}
	o.pending = m.state == ""
	if t := l.tries[id]; t != nil {
		t.listed = true
	}
	switch {
	case !ok:
		l.never(o, "foreign", errForeign)
	case info.Size > flare.MaxObject:
		l.never(o, "too_large", errTooLarge)
	default:
		return o, m
	}
	o.id = ""
	return o, m
}

// never leaves an object alone for good.
func (l *Loop) never(o object, reason string, err error) {
	l.wait(o, l.memo(o), reason, 0, err)
}

// prune forgets objects that are not in the bucket any more, and removes the try
// markers they left.
func (l *Loop) prune(ctx context.Context) {
	for key, m := range l.memos {
		if m.pass != l.passes {
			l.forget(key)
		}
	}
	for id, t := range l.tries {
		if !t.listed {
			l.untry(ctx, id)
		}
	}
}
