package sim

import (
	"sync"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Oracle knows every record, what the servers took and what the agents were
// told. From that alone it says what an agent's counters must be. It never looks
// at an engine.
type Oracle struct {
	w *World

	mu sync.Mutex
	// mu guards the following.
	records []record // by number
	log     []entry  // what Kafka has
}

// record is one item of telemetry and what became of it.
type record struct {
	boot   *boot // the process it was handed to
	signal frame.Signal
	tenant string

	accepted bool // the process answers for it
	acked    bool // the process was told that the gateway has it
	refused  bool // the process was told that the gateway took the others of its frame
	parked   bool // the process said that it was proven bad
	stored   bool // the process was told that a store has it
	inLog    int  // how often it is there
	inStores int
	returned int           // how often it reached the log out of a flare
	withheld bool          // recoveries may keep it from Kafka
	root     frame.BatchID // it came with; of the first time
}

// entry is one frame in Kafka.
type entry struct {
	batch frame.BatchID
	items int
}

// hand notes that records are handed to a process, and returns the number of
// the first one.
func (o *Oracle) hand(b *boot, s frame.Signal, tenant string, n int) (first int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first = len(o.records)
	for range n {
		o.records = append(o.records, record{boot: b, signal: s, tenant: tenant})
	}
	return first
}

// accepts notes that a process took records.
func (o *Oracle) accepts(first, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range n {
		o.records[first+i].accepted = true
	}
}

// arrives is called when the gateway takes a frame. It reads the bytes as they
// are at that moment.
func (o *Oracle) arrives(b *boot, r *otlpsend.Request, t *try) {
	ids, err := decode(r.Signal, r.Body, r.RawSize)
	if err != nil || len(ids) != len(t.ids) {
		o.w.failf("%s: a frame of %d records reads as %d: %v", b.name(), len(t.ids), len(ids), err)
		return
	}
	skip := map[int]bool{}
	for _, id := range t.refused {
		skip[id] = true
	}
	tenant := ""
	if v := r.Meta[tenantKey]; len(v) > 0 {
		tenant = v[0]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = append(o.log, entry{t.batch, len(ids) - len(skip)})
	for _, id := range ids {
		if !skip[id] {
			o.place(b, id, t.batch, tenant)
			o.records[id].inLog++
		}
	}
}

// place checks a record that arrives somewhere. mu is held.
func (o *Oracle) place(b *boot, id int, batch frame.BatchID, tenant string) {
	if id < 0 || id >= len(o.records) {
		o.w.failf("%s: record %d arrived that nobody sent", b.name(), id)
		return
	}
	r := &o.records[id]
	if r.boot != b || !r.accepted {
		o.w.failf("%s: record %d arrived, accepted: %v", b.name(), id, r.accepted)
	}
	if r.tenant != tenant {
		o.w.failf("%s: record %d of tenant %q arrived as %q's", b.name(), id, r.tenant, tenant)
	}
	if r.root == "" {
		r.root = batch.Root()
	}
	if r.root != batch.Root() {
		o.w.failf("%s: record %d arrived in batch %s and in %s", b.name(), id, r.root, batch)
	}
}

// told notes what a process learned of some of its records.
func (o *Oracle) told(ids []int, what func(*record)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range ids {
		what(&o.records[id])
	}
}

// account is what the oracle says of the records of one signal of one process.
type account struct {
	accepted int64
	kept     int64 // the process was told that somebody has them
	rejected int64 // the process was told that they are bad
	missing  int64 // nobody has them
	arrived  int64 // somebody has them, and the process cannot know
	twice    int64 // arrived more than once
}

// account sums up the records of a process.
func (o *Oracle) account(b *boot, s frame.Signal) (a account) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.records {
		r := &o.records[i]
		if r.boot != b || r.signal != s {
			continue
		}
		n := r.inLog + r.inStores
		if !r.accepted {
			continue
		}
		a.accepted++
		switch {
		case r.acked || r.stored:
			a.kept++
		case r.parked || r.refused:
			a.rejected++
		case n > 0:
			a.arrived++
		}
		if n == 0 {
			a.missing++
			if r.acked || r.stored {
				o.w.failf("%s: record %d is nowhere, and the process was told that it is safe", b.name(), i)
			}
		}
		if n > 1 {
			a.twice++
		}
	}
	return a
}
