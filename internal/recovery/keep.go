package recovery

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

const (
	maxReads    = 500     // done markers that one pass reads to learn their numbers
	maxRefusals = 10      // of the store to hand out one of them
	maxSweeps   = 1000    // old done markers that one pass removes
	maxOld      = 100_000 // old done markers that are remembered until they are removed
)

// keeper is the housekeeping of a Loop: what lies about under the prefix, how full
// quarantine is, which markers are old, and what the others say. Owned by Run.
type keeper struct {
	next        time.Time       // of counting
	untouched   map[string]int  // objects that are never touched, at the last listing, by reason
	quarantined int64           // bytes
	old         map[string]bool // ids of markers to remove, unless their flare is listed
	unswept     int             // how many could not be removed since they were counted
	listed      bool            // markers were, and not all of them are read
	unread      []markerID      // markers another process wrote
	refusals    int             // of the store, of the first of unread
	numbers
}

func newKeeper() keeper {
	return keeper{untouched: map[string]int{}, old: map[string]bool{}, numbers: newNumbers()}
}

// keep counts quarantine and old markers once an hour, and removes some of those
// and reads some markers of earlier processes in every pass.
func (l *Loop) keep(ctx context.Context) error {
	k := &l.keeping
	l.sweep(ctx) // before new ones are found: first a whole listing must not hold their flares
	if now := time.Now(); !now.Before(k.next) {
		if err := l.countQuarantine(ctx); err != nil {
			return err
		}
		if err := l.listMarkers(ctx); err != nil {
			return err
		}
		k.next = now.Add(housekeeping)
	}
	l.readMarkers(ctx)
	if len(k.unread) == 0 { // else what seems to be missing may stand in the next one
		if k.listed {
			k.read()
			k.listed = false
		}
		numbers := k.tally()
		l.update(func(s *Snapshot) { s.Numbers = numbers })
	}
	if keys := l.keys; keys != nil {
		l.update(func(s *Snapshot) { s.enrol(keys) })
	}
	return nil
}

func (l *Loop) countQuarantine(ctx context.Context) error {
	var sum int64
	err := l.each(ctx, l.s.StatePrefix+"quarantine/", func(info bucket.Info, _ time.Time) { sum += info.Size })
	if err == nil {
		l.keeping.quarantined = sum
	}
	return err
}

// listMarkers finds the done markers of other processes, and those that outlived
// every flare they could keep out: a copy of such a flare is stale by its creation
// time. Ages are told by the store's clock alone.
func (l *Loop) listMarkers(ctx context.Context) error {
	k := &l.keeping
	prefix := l.s.StatePrefix + "done/"
	gone := maps.Clone(k.known)
	k.unread, k.unswept = k.unread[:0], 0
	var oldest time.Time // that a marker may be
	err := l.each(ctx, prefix, func(info bucket.Info, now time.Time) {
		oldest = now.Add(-l.s.MaxAge - markerGrace)
		name := strings.TrimPrefix(info.Key, prefix)
		id, ok := markerIDOf(name)
		_, known := k.known[id]
		delete(gone, id)
		switch {
		case info.LastModified.Before(oldest):
			if len(k.old) < maxOld {
				k.old[name] = true
			}
		case ok && !known:
			k.unread = append(k.unread, id)
		}
	})
	if err != nil {
		return err
	}
	for id := range gone {
		k.unlearn(id)
	}
	k.listed = true
	l.update(func(s *Snapshot) { s.drillsSince(oldest) })
	return nil
}

// sweep removes old markers whose flares were not listed since they were found:
// a flare that could not be deleted is kept out as long as it is there. A marker
// that cannot be removed is left to the next hour, and stops nothing else.
// crash here: the next process finds them again.
func (l *Loop) sweep(ctx context.Context) {
	k := &l.keeping
	n := 0
	for id := range k.old {
		if n++; n > maxSweeps {
			return
		}
		delete(k.old, id)
		if _, err := l.bucket.Delete(ctx, l.s.doneKey(id)); err != nil {
			k.unswept++
			break // others have time; a call may last long
		}
		if id, ok := markerIDOf(id); ok {
			k.unlearn(id)
		}
	}
	l.update(func(s *Snapshot) { s.count(Stuck, string(StepSweep), k.unswept-s.Stuck[string(StepSweep)]) })
}

// readMarkers learns numbers from markers of earlier processes. They serve a
// metric only, so what cannot be read is left out for an hour; but what a busy store
// does not hand out is asked for in ten passes.
func (l *Loop) readMarkers(ctx context.Context) {
	k := &l.keeping
	keys := l.keys
	if keys == nil {
		return
	}
	for range min(maxReads, len(k.unread)) {
		id := k.unread[0]
		data, _, err := l.bucket.Get(ctx, l.s.doneKey(id.String()), bucket.GetOptions{Limit: maxMarker})
		switch kind := bucket.KindOf(err); {
		case err == nil:
			k.known[id] = nil
			l.readMarker(data, keys)
		case kind == bucket.Unknown || kind == bucket.Unreachable || kind == bucket.Throttled:
			if k.refusals++; k.refusals < maxRefusals {
				return
			}
		}
		k.unread, k.refusals = k.unread[1:], 0
	}
}

func (l *Loop) readMarker(data []byte, keys *Keys) {
	m, err := l.openOutside(data, keys)
	if err != nil {
		return
	}
	l.keeping.learn(m)
	if m.Reason == flare.Drill && m.Created != nil {
		l.update(func(s *Snapshot) { s.drilled(m.Principal, m.Created.Time) })
	}
}
