// Package audit compares what was accepted with what Kafka holds, record by
// record: a span, a data point or a log record, together with the resource and
// the scope it came under, is the same only if its protobuf bytes are.
//
// It reads bytes it is given and does no I/O. It does not repair anything, and
// it does not follow records beyond Kafka.
package audit

import (
	"crypto/sha256"
	"slices"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Ledger holds both sides of the comparison. The zero value is empty and ready.
// It must not be used concurrently.
type Ledger struct {
	books [frame.NumSignals]book
}

// Row is the result for one signal. Counts are records.
type Row struct {
	Signal   frame.Signal
	Accepted int64 // records on the one side
	Kafka    int64 // records on the other, every copy counted
	// Duplicates are copies in Kafka beyond those that were accepted. Marked are
	// those of them that a consumer can drop by the root of their batch id.
	Duplicates, Marked int64
	Lost               int64 // accepted, and not in Kafka with the same bytes
	Altered            int64 // in Kafka with bytes that nobody accepted; its original counts as lost
	// Gaps are seconds, by the records' own time, in which records were accepted
	// and of which Kafka holds none.
	Gaps int64
}

// OK reports whether every accepted record is in Kafka and nothing else is.
func (r Row) OK() bool { return r.Lost == 0 && r.Altered == 0 }

// Accept adds the records of an export request, as protobuf, to the accepted.
func (l *Ledger) Accept(s frame.Signal, request []byte) error {
	b := &l.books[s]
	return eachRecord(s, request, func(record []byte, second int64) {
		b.entry(record).accepted++
		sec := b.second(second)
		sec.accepted = true
		b.accepted++
	})
}

// Kafka adds the records of a Kafka record's value, an export request as
// protobuf, to what Kafka holds. batchID is its lifeline-batch-id header; it
// may be empty.
func (l *Ledger) Kafka(s frame.Signal, request []byte, batchID frame.BatchID) error {
	b := &l.books[s]
	root := batchID.Root()
	return eachRecord(s, request, func(record []byte, second int64) {
		e := b.entry(record)
		e.kafka++
		if root != "" {
			if slices.Contains(e.roots, root) {
				e.repeats++
			} else {
				e.roots = append(e.roots, root)
			}
		}
		b.second(second).kafka = true
		b.kafka++
	})
}

// Row returns the comparison of one signal as it stands.
func (l *Ledger) Row(s frame.Signal) Row {
	b := &l.books[s]
	r := Row{Signal: s, Accepted: b.accepted, Kafka: b.kafka}
	for _, e := range b.entries {
		switch {
		case e.accepted == 0:
			r.Altered += e.kafka
		case e.kafka > e.accepted:
			r.Duplicates += e.kafka - e.accepted
			r.Marked += min(e.repeats, e.kafka-e.accepted)
		default:
			r.Lost += e.accepted - e.kafka
		}
	}
	for _, sec := range b.seconds {
		if sec.accepted && !sec.kafka {
			r.Gaps++
		}
	}
	return r
}

// book is one signal's side-by-side account.
type book struct {
	accepted, kafka int64
	entries         map[[sha256.Size]byte]*entry
	seconds         map[int64]*second
}

// entry counts the copies of one record.
type entry struct {
	accepted, kafka int64
	roots           []frame.BatchID // the different batches that brought it to Kafka
	repeats         int64           // copies whose batch had brought it before
}

type second struct{ accepted, kafka bool }

func (b *book) entry(record []byte) *entry {
	if b.entries == nil {
		b.entries = map[[sha256.Size]byte]*entry{}
	}
	key := sha256.Sum256(record)
	e := b.entries[key]
	if e == nil {
		e = &entry{}
		b.entries[key] = e
	}
	return e
}

func (b *book) second(unix int64) *second {
	if b.seconds == nil {
		b.seconds = map[int64]*second{}
	}
	s := b.seconds[unix]
	if s == nil {
		s = &second{}
		b.seconds[unix] = s
	}
	return s
}
