package recovery

import (
	"runtime/debug"
	"time"

	"github.com/otel-lifeline/lifeline/internal/gcpace"
)

// maxBusyBytes bounds the objects that are worked on at the same time, all
// together, unless it is one. Each is in memory twice while it is opened.
const maxBusyBytes = 32 << 20

// Above largeObject memory is looked after: else garbage grows to the size of what
// lives, which is an object of up to 64 MiB and what it holds, and opening one
// leaves as much behind. There is no room for two of this size at the same time.
const largeObject = maxBusyBytes / 2

// frugally does what works on the bytes of an object, without the lock.
func (l *Loop) frugally(size int64, do func()) {
	if size > largeObject {
		defer gcpace.Tighten()()
	}
	l.outside(do)
}

// release gives back the memory that the work on an object has left behind.
func (l *Loop) release(size int64) {
	if size > largeObject {
		l.outside(debug.FreeOSMemory)
	}
}

// load is what goes on at the same time.
type load struct {
	flares int
	bytes  int64       // of the objects
	sends  int         // records on their way
	alone  bool        // the flare that is worked on is a suspect
	shards [shards]int // visits, by shard
}

// add counts the visit of an object n times, which is 1 or -1.
func (b *load) add(n int, o object) {
	b.flares += n
	b.bytes += int64(n) * o.Size
	b.shards[shardOf(o.id)] += n
}

// pacer decides how much goes on at the same time, and how fast. After a broken
// path one flare and one record show whether it is whole again, and whether done
// markers can be written. A path that broke under load is loaded half as much for
// a while.
//
// A gateway that has nothing else to do takes several records in the time of one.
// One that is busy with what agents send does not: more of ours only wait there,
// before and among theirs. So there is one more record on its way as long as that
// makes the acks no slower, and one less when it does.
type pacer struct {
	rate            int64 // stored bytes per second
	flares, senders int   // the most at the same time
	busy            load

	next    time.Time // when the next byte may leave
	proven  bool      // a flare was settled since the path last broke
	window  int       // records on their way now, at most
	ceiling int       // of window
	acks    int       // since ceiling was raised

	quick  mean      // from sending to the ack, while one record was on its way
	lately mean      // the same for the window that there is
	until  time.Time // a window of 1 stays so long; a larger one is not believed longer
}

// mean is a mean of the last few acks. The zero value has none.
type mean struct {
	of time.Duration
	n  int
}

// meanOf is how many acks a mean is of, and how many it takes to believe it.
const meanOf = 8

func (m *mean) add(d time.Duration) {
	m.n++
	m.of += (d - m.of) / time.Duration(min(m.n, meanOf))
}

func newPacer(s Settings) pacer {
	p := pacer{rate: s.Gateway.MaxRate, flares: max(s.Flares, 1), senders: max(s.Gateway.Senders, 1), window: 1}
	p.ceiling = p.senders
	return p
}

const (
	raiseAfter  = 64               // acks that it takes to raise the ceiling by one
	measureEach = 30 * time.Second // how long it is believed what one record takes
	tryEach     = 5 * time.Second  // how often a second record is tried beside one
	muchSlower  = 0.5              // records that wait for others of ours: one less
	noSlower    = 0.25             // and for which there may be one more
)

// roomFor reports whether an object of this size may be worked on beside what goes
// on. A suspect is worked on alone: whatever dies with it has died of nothing else.
func (p *pacer) roomFor(size int64, suspect bool) bool {
	b := &p.busy
	limit := p.flares
	if !p.proven {
		limit = 1
	}
	return b.flares == 0 || !b.alone && !suspect && b.flares < limit && b.bytes+size <= maxBusyBytes
}

// maySend reports whether one more record may be on its way.
func (p *pacer) maySend() bool { return p.busy.sends < p.window }

// acked notes an ack that took so long. A gateway that knows what it can take asked
// for a window; 0 if it said nothing.
func (p *pacer) acked(took time.Duration, asked int) {
	if p.acks++; p.acks >= raiseAfter {
		p.acks, p.ceiling = 0, min(p.ceiling+1, p.senders)
	}
	now := time.Now()
	if asked > 0 {
		p.quick = mean{}
		p.turn(min(asked, p.ceiling), now)
		return
	}
	if p.window == 1 {
		if p.quick.add(took); p.quick.n >= meanOf && p.ceiling > 1 && !now.Before(p.until) {
			p.turn(2, now.Add(measureEach))
		}
		return
	}
	if p.lately.add(took); p.lately.n < meanOf {
		return
	}
	// Of the records on their way so many wait for each other: the rest are
	// worked on, as one alone would be.
	waiting := float64(p.window) * (1 - float64(p.quick.of)/float64(max(p.lately.of, p.quick.of, 1)))
	switch {
	case now.After(p.until):
		p.quick = mean{}
		p.turn(1, now)
	case waiting > muchSlower && p.window == 2:
		p.turn(1, now.Add(tryEach))
	case waiting > muchSlower:
		p.turn(p.window-1, p.until)
	case waiting < noSlower:
		p.turn(min(p.window+1, p.ceiling), p.until)
	}
}

// turn makes the window n, and begins to measure it.
func (p *pacer) turn(n int, until time.Time) {
	p.window, p.lately, p.until = n, mean{}, until
}

// settled notes that a flare is dealt with, marker and all.
func (p *pacer) settled() { p.proven = true }

// passed notes how a pass ended.
func (p *pacer) passed(err error) {
	if err == nil {
		return
	}
	if p.window > 1 {
		p.ceiling = max(p.window/2, 1)
	}
	p.proven, p.acks, p.quick = false, 0, mean{}
	p.turn(1, time.Time{})
}

// reserve takes n bytes and returns how long to wait before they may be sent.
func (p *pacer) reserve(n int64) time.Duration {
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return wait
}
