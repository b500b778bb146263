package ring

import (
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// state is where a frame is in its life.
type state uint8

const (
	open     state = iota // raw; calls are appended
	sealing               // raw; being compressed by whoever took it
	held                  // stored; waits for a sender or a flare
	sending               // stored; leased to a sender
	flaring               // stored; leased to a flare, pinned
	parked                // stored; rejected, waits for a flare of its own
	drilling              // stored; a drill, waits for a flare of its own
	out                   // gone: its fate is known
)

// Fate is why a frame is no longer offered to senders.
type Fate uint8

// The fates. Pending means that there is none yet.
const (
	Pending   Fate = iota
	Delivered      // acked by the gateway
	Flared         // stored in a bucket
	Split          // replaced by its two halves
	Rejected       // proven bad, parked
	Lost           // gone, and counted by reason
)

// String returns the lower-case name of the fate.
func (f Fate) String() string {
	return [...]string{"pending", "delivered", "flared", "split", "rejected", "lost"}[f]
}

// Frame is one frame in a Ring. Only the ring's methods look inside.
type Frame struct {
	signal frame.Signal
	meta   map[string][]string
	key    string        // names meta while the frame is open
	order  uint64        // age: smaller is older; halves share their parent's
	id     frame.BatchID // set when it is taken to be sealed
	seq    uint64        // the same; a drill has none

	// The ring's lock guards the following.

	span  span
	state state
	fate  Fate
	body  extent // raw while open, then stored
	try   try
	node  node
	done  chan struct{} // made at the first lease, closed with the fate
	turn  chan struct{} // made at the first lease: the ring's user wakes the frame's sender
}

// span is what a frame covers.
type span struct {
	from, to time.Time
	items    int64
	raw      int64 // uncompressed bytes
}

// try is what is known of the attempts to deliver a frame.
type try struct {
	count     int64     // attempts begun, and flares given up whose PUT is unknown
	last      time.Time // when the latest one began
	busy      bool      // an attempt has begun and not ended
	leased    bool      // while sealing: a sender waits for it
	borrowed  bool      // the attempt began while a flare held the frame
	back      bool      // sent after all others
	failures  int       // failed while other frames were acked
	firstAcks int64     // acks of the signal when the first attempt began, of the frame it was cut from if it is a half
	lastAcks  int64     // acks of all signals when failures was last looked at
	acked     bool      // acked after the flare that holds it was sealed
	rejected  int64     // of that ack
	cancel    func()    // ends the attempt that is running; must not block
}

// Signal returns the signal of the frame.
func (f *Frame) Signal() frame.Signal { return f.signal }

// Items returns the items of a frame that is no longer open.
func (f *Frame) Items() int64 { return f.span.items }

// Fate returns the fate of a frame whose Done is closed.
func (f *Frame) Fate() Fate { return f.fate }

// Done is closed when the frame's fate is known. It may be called only after
// the frame was leased to a sender.
func (f *Frame) Done() <-chan struct{} { return f.done }

// Turn is a channel of capacity 1 by which the ring's user tells the one
// goroutine that sends this frame that it was leased again. The ring never
// uses it.
func (f *Frame) Turn() chan struct{} { return f.turn }

// node links a frame into at most one queue.
type node struct{ prev, next *Frame }

// queue is a list of frames, oldest first.
type queue struct {
	first, last *Frame
	len         int
}

// insert puts f in its place by order, behind frames of the same order. It
// walks from the end that is nearer: sealed frames belong near the back,
// returned ones near the front.
func (q *queue) insert(f *Frame) {
	after := q.last
	if q.first != nil && f.order-min(f.order, q.first.order) < q.last.order-min(f.order, q.last.order) {
		for after = nil; ; {
			next := q.first
			if after != nil {
				next = after.node.next
			}
			if next == nil || next.order > f.order {
				break
			}
			after = next
		}
	}
	for after != nil && after.order > f.order {
		after = after.node.prev
	}
	f.node.prev = after
	if after == nil {
		f.node.next, q.first = q.first, f
	} else {
		f.node.next, after.node.next = after.node.next, f
	}
	if f.node.next == nil {
		q.last = f
	} else {
		f.node.next.node.prev = f
	}
	q.len++
}

func (q *queue) remove(f *Frame) {
	if f.node.prev == nil {
		q.first = f.node.next
	} else {
		f.node.prev.node.next = f.node.next
	}
	if f.node.next == nil {
		q.last = f.node.prev
	} else {
		f.node.next.node.prev = f.node.prev
	}
	f.node = node{}
	q.len--
}
