package sim

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// object is what a store once took under the key of a flare, and what became of
// it since. It is known for good, whether the store still has it or not.
type object struct {
	store   *store
	id      string
	data    []byte
	foreign bool // no flare of ours
	at      time.Time
	boot    *boot // which put it
	put     *put

	read    sync.Once
	flare   *flare.Flare // after read; nil: cannot be read
	batches map[string]*batch

	// Guarded by the oracle's mu.

	got         map[int]int  // records of it that reached Kafka, and how often
	barred      map[int]bool // records of it that the gateway did not take for good
	marked      bool         // a done marker was written
	quarantined string       // under which reason
}

// batch is one record file of a flare.
type batch struct {
	frame.Frame
	text string // its lifeline-frame
	ids  []int
}

// keeps notes what a store took. The same object may come twice.
func (s *store) keeps(ob *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects[ob.id] == nil {
		ob.store, ob.at, ob.got, ob.barred = s, s.clock(), map[int]int{}, map[int]bool{}
		s.objects[ob.id] = ob
	}
}

// object returns what the store once took as a flare, or nil.
func (s *store) object(id string) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[id]
}

// all returns everything that the store ever took, in the order of its ids.
func (s *store) all() (list []*object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ob := range s.objects {
		list = append(list, ob)
	}
	slices.SortFunc(list, func(a, b *object) int { return strings.Compare(a.id, b.id) })
	return list
}

// name says which flare it is, by what does not depend on chance.
func (ob *object) name() string {
	return ob.boot.name() + " flare " + strconv.Itoa(ob.put.nth)
}

// open reads the flare, as its owner could. It returns nil if it is none.
func (ob *object) open() *flare.Flare {
	ob.read.Do(func() {
		if ob.foreign {
			return
		}
		w := ob.store.w
		fl, err := w.keys.Opener.Open(flare.Object{ID: ob.id, LastModified: ob.at}, ob.data)
		if err != nil {
			w.failf("%s: %v", ob.name(), err)
			return
		}
		ob.flare, ob.data, ob.batches = fl, nil, map[string]*batch{}
		for i, f := range fl.Frames {
			b := &batch{Frame: f, text: fl.Manifest.Records[i].Frame}
			ob.batches[f.Signal.String()+" "+string(f.BatchID)] = b
			if fl.Manifest.Reason == flare.Drill {
				continue
			}
			if b.ids, err = decode(f.Signal, f.Stored, f.RawSize); err != nil || int64(len(b.ids)) != f.Header.Items {
				w.failf("%s: holds a frame of %d items with %d: %v", ob.name(), f.Header.Items, len(b.ids), err)
			}
		}
	})
	return ob.flare
}

// reason returns why the flare was made; "" for what is none.
func (ob *object) reason() flare.Reason {
	if fl := ob.open(); fl != nil {
		return fl.Manifest.Reason
	}
	return ""
}

// returns reports whether the records of the flare are to go to Kafka.
func (ob *object) returns() bool {
	r := ob.reason()
	return r != "" && r != flare.Drill && r != flare.Rejected
}

// batch returns the record file that a request is of: the whole one, or one of
// which it is a part. It is nil if there is none.
func (ob *object) batch(s frame.Signal, id frame.BatchID) *batch {
	if ob.open() == nil {
		return nil
	}
	for name := string(id); ; {
		if b := ob.batches[s.String()+" "+name]; b != nil {
			return b
		}
		cut := strings.LastIndexByte(name, '.')
		if cut < 0 {
			return nil
		}
		name = name[:cut]
	}
}

// left returns how many records of the flare are neither in Kafka nor refused
// for good. The oracle's mu is held.
func (ob *object) left() (n int) {
	for _, b := range ob.batches {
		for _, id := range b.ids {
			if ob.got[id] == 0 && !ob.barred[id] {
				n++
			}
		}
	}
	return n
}

// is reports whether a request's body is what the flare holds, byte for byte.
func (b *batch) is(body []byte) bool {
	var own bytes.Buffer
	_, _ = b.Stored.WriteTo(&own)
	return bytes.Equal(own.Bytes(), body)
}
