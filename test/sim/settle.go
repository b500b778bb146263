package sim

import (
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// maxSettle is how long recoveries may need when the weather is over: what waits
// is looked at once in an hour.
const maxSettle = 3 * time.Hour

// settle waits until the recoveries have nothing left to do.
func (w *World) settle() {
	pause(nil, until(w.over))
	for end := w.over.Add(maxSettle); time.Now().Before(end) && w.unsettled() != ""; {
		pause(nil, time.Minute)
	}
	if key := w.unsettled(); key != "" {
		w.failf("%s is still there", key)
	}
}

// unsettled names an object that recoveries still have to do with.
func (w *World) unsettled() string {
	for _, s := range w.stores {
		for _, key := range s.fake.Keys() {
			if strings.HasPrefix(key, prefix) || strings.HasPrefix(key, statePrefix+"try/") {
				return s.name + " " + s.alias(key)
			}
		}
	}
	return ""
}

// judgeFlares checks that everything the stores ever took came to the end that
// it must come to.
func (w *World) judgeFlares() {
	w.oracle.mu.Lock()
	defer w.oracle.mu.Unlock()
	for _, s := range w.stores {
		for _, ob := range s.all() {
			reason := ob.reason()
			right := false
			switch {
			case ob.quarantined == "poison":
				right = true
				w.withhold(ob)
			case ob.foreign:
				right = ob.quarantined != ""
			case reason == flare.Rejected:
				right = ob.marked && ob.quarantined == "rejected"
			case reason == flare.Drill:
				right = ob.marked && ob.quarantined == ""
			default:
				right = ob.marked && ob.left() == 0
				w.withhold(ob)
			}
			if !right {
				w.failf("%s in %s, for %q: done: %v, quarantine: %q, %d records left", ob.name(), s.name, reason, ob.marked, ob.quarantined, ob.left())
			}
		}
	}
}

// withhold notes which records of a flare may be missing in Kafka. The oracle's
// mu is held.
func (w *World) withhold(ob *object) {
	if ob.open() == nil || !ob.returns() {
		return
	}
	for _, b := range ob.batches {
		for _, id := range b.ids {
			if ob.quarantined == "poison" || ob.barred[id] {
				w.oracle.records[id].withheld = true
			}
		}
	}
}

// judgeLog checks that Kafka has every record that it must have, and counts
// those that it has more than once.
func (w *World) judgeLog() {
	o := w.oracle
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.records {
		r := &o.records[i]
		n := r.inLog + r.returned
		safe := r.acked || r.stored
		switch {
		case n == 0 && (safe || r.inStores > 0) && !r.withheld:
			w.failf("%s: record %d is not in Kafka: acked %v, stored %v, in stores %d", r.boot.name(), i, r.acked, r.stored, r.inStores)
		case n == 0 && r.withheld:
			w.count("records: withheld from Kafka, predicted", 1)
		case n == 0 && r.accepted:
			w.count("records: not in Kafka, predicted", 1)
		case n > 1:
			w.count("records: in Kafka more than once", 1)
		}
		if r.returned > 0 {
			w.count("records: in Kafka out of a flare", 1)
		}
	}
}
