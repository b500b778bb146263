package ring

import (
	"maps"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// counts is what is known of one signal. Invariant, between any two calls:
// accepted == delivered + sum(flared) + rejected + sum(lost) + held.
type counts struct {
	accepted, delivered, rejected, held int64
	flared, lost                        map[string]int64
	lateAcks                            int64
	lostReason                          string // the latest
	seq                                 uint64 // of the newest frame
	acks                                int64  // frames acked
}

// Items counts the items of one signal since the ring was made. For every
// signal of a Snapshot the first is the sum of the others but LateAcks.
type Items struct {
	Accepted, Delivered, Rejected, Held int64
	Flared, Lost                        map[string]int64 // by reason; owned by the caller
	LateAcks                            int64            // acks for items that had left otherwise
}

// Snapshot is the state of a Ring at one instant.
type Snapshot struct {
	Signals [frame.NumSignals]Items
	Used    int64     // bytes of whole pages: frames with their metadata, and sealed flares
	Frames  int       // open ones, the drill and those of flares included
	Oldest  time.Time // when the oldest item held was accepted; zero when none is
}

// Snapshot reads all counters under one lock.
func (r *Ring) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{Used: (r.space.pool.out + r.space.side) * PageSize}
	for i := range r.counts {
		c := &r.counts[i]
		s.Signals[i] = Items{
			Accepted: c.accepted, Delivered: c.delivered, Rejected: c.rejected, Held: c.held,
			Flared: maps.Clone(c.flared), Lost: maps.Clone(c.lost), LateAcks: c.lateAcks,
		}
	}
	for _, q := range r.queues {
		s.Frames += q.len
	}
	for _, q := range r.queues[:parked] {
		f := q.first
		for f != nil && !r.isHeld(f) { // a flare has parked frames, or the drill
			f = f.node.next
		}
		if f != nil && (s.Oldest.IsZero() || f.span.from.Before(s.Oldest)) {
			s.Oldest = f.span.from
		}
	}
	return s
}

// View is what a decision needs to know. Times are zero when there is nothing.
type View struct {
	Frames  int64     // bytes of whole pages of frames
	Open    time.Time // begin of the oldest open frame
	Oldest  time.Time // begin of the oldest frame that a flare could take
	Held    int       // frames that wait
	Takable int       // frames that a flare could take: those that wait and those that are sent
	Sealing int       // frames that are being sealed
	Leased  int       // frames that senders have, those being sealed for one or borrowed from a flare included
	Flaring int       // frames that flares have, but for a drill
	Parked  int
	Drill   time.Time // begin of a drill that waits
}

// View returns the state of the ring without its counters.
func (r *Ring) View() View {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := View{
		Frames: r.space.frames() * PageSize, Held: r.queues[held].len, Takable: r.queues[held].len + r.queues[sending].len, Sealing: r.queues[sealing].len,
		Leased: r.queues[sending].len + r.sends.raw + r.sends.borrowed, Flaring: r.queues[flaring].len, Parked: r.queues[parked].len,
	}
	if f := r.queues[open].first; f != nil {
		v.Open = f.span.from
	}
	if f := r.oldest(Telemetry, nil); f != nil {
		v.Oldest = f.span.from
	}
	switch {
	case r.drill == nil:
	case r.drill.state == drilling:
		v.Drill = r.drill.span.from
	case r.drill.state == flaring:
		v.Flaring--
	}
	return v
}

// ParkedBytes returns the bytes of whole pages that parked frames take.
func (r *Ring) ParkedBytes() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.space.parked * PageSize
}

// News is what happened since it was last asked for.
type News struct {
	Lost          map[Loss]int64          // items
	ParkedDropped [frame.NumSignals]int64 // rejected items whose bytes were dropped
}

// Loss is a kind of loss.
type Loss struct {
	Signal frame.Signal
	Reason string
}

func (n *News) lose(s frame.Signal, reason string, items int64) {
	if n.Lost == nil {
		n.Lost = map[Loss]int64{}
	}
	n.Lost[Loss{s, reason}] += items
}

// TakeNews returns the news and forgets them.
func (r *Ring) TakeNews() News {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.news
	r.news = News{}
	return n
}
