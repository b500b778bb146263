package recovery

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// memo is what this process remembers of one object that is still in the bucket.
type memo struct {
	etag      string // other bytes under the same key are another object
	pass      uint64 // the last pass that listed it
	looked    uint64 // the last pass that visited it
	forgotten bool   // there are too many: not remembered, so not counted either

	state  State // Waiting or Stuck; "" while pending
	reason string
	next   time.Time // waiting: not looked at before, unless keys changed
	keys   *Keys     // that it was judged by; others may have been in force by then
	by     *Keys     // of the latest visit

	failures int
	work     *work  // since the flare was verified
	fate     fate   // valid with todo
	todo     []Step // what is left to do for fate
}

// isDue reports whether a waiting or stuck object is worth another look.
func (m *memo) isDue(keys *Keys, now time.Time) bool {
	return m.state != Waiting || m.keys != keys || !now.Before(m.next)
}

// work is what this process knows of a verified flare's records. It outlives a
// pass, so that an acked record is never sent again by this process.
type work struct {
	keys   *Keys // that opened it
	marker marker
	event  Event
	acked  map[recordKey]bool
	split  map[recordKey]bool  // too large: its halves are sent instead
	doubt  map[recordKey]doubt // refused as bad data
	bad    map[recordKey]error // refused again after another record was acked
}

// recordKey names a record within its flare. A batch id alone does not: nothing
// keeps a writer from using one id in two signals.
type recordKey string

func (r record) key() recordKey { return recordKey(r.Signal.String() + " " + string(r.BatchID)) }

// doubt is a refusal that may be the server's fault.
type doubt struct {
	signal frame.Signal
	acks   uint64 // records of that signal acked by the process before it
}

func newWork() *work {
	return &work{
		acked: map[recordKey]bool{}, split: map[recordKey]bool{},
		doubt: map[recordKey]doubt{}, bad: map[recordKey]error{},
	}
}

// verified notes what the latest opening says: between two of them the trust
// file may have given the key another principal.
func (w *work) verified(keys *Keys, fl *flare.Flare) {
	w.keys, w.marker = keys, markerOf(fl)
	w.event.Principal, w.event.Agent, w.event.Why = fl.Principal, fl.Manifest.Agent, fl.Manifest.Reason
	w.event.Cause, w.event.Created = mainCause(fl.Manifest.Report), fl.Manifest.Created.Time
}

// settled reports whether nothing more is to be sent for k.
func (w *work) settled(k recordKey) bool {
	return w.acked[k] || w.bad[k] != nil
}

// refuse notes that a server refused a record as bad data when the process had
// seen acks acks of its signal. The data is proven bad only by a refusal after
// another record of the signal was acked since the first one: a firewall, or a
// gateway with a wrong configuration, refuses everything, or one signal.
func (w *work) refuse(r record, acks uint64, why error) {
	first, again := w.doubt[r.key()]
	switch {
	case !again:
		w.doubt[r.key()] = doubt{r.Signal, acks}
	case acks > first.acks:
		delete(w.doubt, r.key())
		w.bad[r.key()] = why
	}
}

// maxDoubts is how many refused records of one signal are remembered of a flare that
// waits. A gateway that refuses everything may do so for days, and to a hundred
// thousand flares; of the others the first refusal is told again.
const maxDoubts = 4

func (w *work) forgetDoubts() {
	left := map[recordKey]doubt{}
	var kept [frame.NumSignals]int
	for _, k := range slices.Sorted(maps.Keys(w.doubt)) {
		if d := w.doubt[k]; kept[d.signal] < maxDoubts {
			kept[d.signal]++
			left[k] = d
		}
	}
	w.doubt = left // a map that was large stays so
}

// provable reports whether something was acked since a record of w was refused:
// another attempt tells whether that record is bad.
func (l *Loop) provable(w *work) bool {
	for _, d := range w.doubt {
		if l.acks[d.signal] > d.acks {
			return true
		}
	}
	return false
}

// ack notes that k is stored.
func (w *work) ack(k recordKey) {
	w.acked[k] = true
	delete(w.doubt, k)
}

// errDoubt and errBad say what stands against the records of a flare.
var (
	errDoubt = errors.New("refused as bad data, and nothing was acked since: no proof yet")
	errBad   = errors.New("refused as bad data again after another record was acked")
)

// whyDoubt names the records whose badness is not proven.
func (w *work) whyDoubt() error {
	return fmt.Errorf("%d records %w, the first %s", len(w.doubt), errDoubt, slices.Min(slices.Collect(maps.Keys(w.doubt))))
}

// whyBad names the records proven bad, and what was said about the first.
func (w *work) whyBad() error {
	first := slices.Min(slices.Collect(maps.Keys(w.bad)))
	return fmt.Errorf("%d records %w, the first %s: %w", len(w.bad), errBad, first, w.bad[first])
}

// memo returns what is remembered of o, fresh if nothing is.
func (l *Loop) memo(o object) *memo {
	m := l.memos[o.Key]
	if m == nil || m.etag != o.ETag {
		l.forget(o.Key)
		m = &memo{etag: o.ETag, pass: l.round.n}
		if m.forgotten = len(l.memos) >= maxMemos; !m.forgotten {
			l.memos[o.Key] = m
		}
	}
	return m
}

// forget drops what is remembered of key.
func (l *Loop) forget(key string) {
	if m := l.memos[key]; m != nil {
		l.moved(m, "", "")
		delete(l.memos, key)
	}
}

// moved changes the state a memo is counted under, and reports whether it was
// another one.
func (l *Loop) moved(m *memo, s State, reason string) bool {
	if m.forgotten || m.state == s && m.reason == reason {
		return false
	}
	l.update(func(snap *Snapshot) {
		snap.count(m.state, m.reason, -1)
		snap.count(s, reason, 1)
	})
	m.state, m.reason = s, reason
	l.round.moved = true
	return true
}

// wait leaves o where it is, to be looked at again after pause or when the keys
// change.
func (l *Loop) wait(o object, m *memo, reason string, pause time.Duration, err error) {
	m.next, m.keys = time.Now().Add(pause), m.by
	if l.moved(m, Waiting, reason) {
		l.tell(Event{Key: o.Key, State: Waiting, Reason: reason, Bytes: o.Size, Err: err})
	}
}
