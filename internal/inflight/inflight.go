// Package inflight knows the requests that a gateway is working on: from whom
// they are, how old, and what they wait for. The receiver fills it; metrics and
// the status page read it.
//
// It starts no goroutine. Its methods may be called concurrently.
package inflight

import (
	"container/list"
	"net"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Stage is what a request waits for.
type Stage uint8

// The stages, in their order.
const (
	Waiting   Stage = iota // for its first bytes, for room, or, if it is recovery's, for acks to agents
	Reading                // for its body
	Writing                // for Kafka
	NumStages = iota
)

// String returns waiting, reading or writing.
func (s Stage) String() string { return [NumStages]string{"waiting", "reading", "writing"}[s] }

// Request is one request as it was when a snapshot was taken.
type Request struct {
	Age    time.Duration // since its headers arrived
	Peer   string        // the address it came from, over gRPC with the port; empty if not known
	Agent  string        // verified, else what the request says of itself, else empty
	Signal frame.Signal
	Bytes  int64 // that are reserved for it
	Stage  Stage
}

// Registry holds the requests in flight. The zero value is empty and ready.
type Registry struct {
	mu     sync.Mutex
	all    list.List // of *Flight, by arrival; mu guards it, and what is in it
	writes list.List // of *Flight, by the start of the write
}

// Flight is one request in flight.
type Flight struct {
	registry       *Registry
	place, writing *list.Element // writing: in writes, nil in the other stages
	arrived, wrote time.Time
	peer           net.Addr
	agent          string
	signal         frame.Signal
	bytes          int64
	stage          Stage
}

// Add enters a request that waits. It is there until Done.
func (r *Registry) Add(signal frame.Signal, peer net.Addr, agent string, arrived time.Time) *Flight {
	f := &Flight{registry: r, signal: signal, peer: peer, agent: agent, arrived: arrived}
	r.mu.Lock()
	defer r.mu.Unlock()
	f.place = r.all.PushBack(f)
	return f
}

// Move says what the request waits for now, and how many bytes are reserved for it.
func (f *Flight) Move(stage Stage, bytes int64) {
	r := f.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	f.stage, f.bytes = stage, bytes
	if stage == Writing && f.writing == nil && f.place != nil {
		f.wrote = time.Now()
		f.writing = r.writes.PushBack(f)
	}
}

// Done takes the request out. A second call does nothing.
func (f *Flight) Done() {
	r := f.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.place != nil {
		r.all.Remove(f.place)
	}
	if f.writing != nil {
		r.writes.Remove(f.writing)
	}
	f.place, f.writing = nil, nil
}

// Snapshot returns the requests in flight, the oldest first.
func (r *Registry) Snapshot() []Request {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Request, 0, r.all.Len())
	for e := r.all.Front(); e != nil; e = e.Next() {
		f := e.Value.(*Flight)
		q := Request{Age: now.Sub(f.arrived), Agent: f.agent, Signal: f.signal, Bytes: f.bytes, Stage: f.stage}
		if f.peer != nil {
			q.Peer = f.peer.String()
		}
		out = append(out, q)
	}
	return out
}

// Totals sums up what is in flight.
type Totals struct {
	Requests    [NumStages]int64
	Bytes       int64
	OldestAge   time.Duration // of the oldest request; 0 without any
	OldestWrite time.Duration // since the oldest write began; 0 without any
}

// Totals returns the sums without making a list.
func (r *Registry) Totals() (t Totals) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.all.Front(); e != nil; e = e.Next() {
		f := e.Value.(*Flight)
		t.Requests[f.stage]++
		t.Bytes += f.bytes
	}
	if front := r.all.Front(); front != nil {
		t.OldestAge = now.Sub(front.Value.(*Flight).arrived)
	}
	t.OldestWrite = r.oldestWrite(now)
	return t
}

// OldestWrite returns how long the oldest write has been going on, 0 without any.
func (r *Registry) OldestWrite() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.oldestWrite(time.Now())
}

func (r *Registry) oldestWrite(now time.Time) time.Duration {
	if front := r.writes.Front(); front != nil {
		return now.Sub(front.Value.(*Flight).wrote)
	}
	return 0
}
