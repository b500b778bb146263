package recovery

import (
	"context"
	"time"
)

// maxBusyBytes bounds the objects that are worked on at the same time, all
// together, unless it is one. Each is in memory twice while it is opened.
const maxBusyBytes = 32 << 20

// load is what goes on at the same time.
type load struct {
	flares int
	bytes  int64       // of the objects
	sends  int         // records on their way
	alone  bool        // the flare that is worked on is a suspect
	shards [shards]int // visits, by shard

	cutting bool // a record is made halves of
}

// add counts the visit of an object n times, which is 1 or -1.
func (b *load) add(n int, o object) {
	b.flares += n
	b.bytes += int64(n) * o.Size
	b.shards[shardOf(o.id)] += n
}

// pacer decides how much goes on at the same time, and how fast. After a broken
// path one flare and one record show whether it is whole again, and whether done
// markers can be written; then it goes on faster with every ack. A path that
// broke under load is loaded half as much for a while.
type pacer struct {
	rate            int64 // stored bytes per second
	flares, senders int   // the most at the same time

	next    time.Time // when the next byte may leave
	proven  bool      // a flare was settled since the path last broke
	window  int       // records on their way now, at most
	ceiling int       // of window
	acks    int       // since ceiling was raised
}

func newPacer(s Settings) pacer {
	p := pacer{rate: s.MaxRate, flares: max(s.Flares, 1), senders: max(s.Senders, 1), window: 1}
	p.ceiling = p.senders
	return p
}

// raiseAfter is how many acks it takes to allow one more record on its way.
const raiseAfter = 64

// roomFor reports whether an object of this size may be worked on beside b. A
// suspect is worked on alone: whatever dies with it has died of nothing else.
func (p *pacer) roomFor(b load, size int64, suspect bool) bool {
	limit := p.flares
	if !p.proven {
		limit = 1
	}
	return b.flares == 0 || !b.alone && !suspect && b.flares < limit && b.bytes+size <= maxBusyBytes
}

// maySend reports whether one more record may be on its way.
func (p *pacer) maySend(b load) bool { return b.sends < p.window }

// acked notes an ack.
func (p *pacer) acked() {
	p.window = min(p.window+1, p.ceiling)
	if p.acks++; p.acks >= raiseAfter {
		p.acks, p.ceiling = 0, min(p.ceiling+1, p.senders)
	}
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
	p.proven, p.window, p.acks = false, 1, 0
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

// waitTurn returns when n more bytes may be sent, or ctx ends.
func (l *Loop) waitTurn(ctx context.Context, n int64) {
	wait := l.pace.reserve(n)
	l.outside(func() { sleep(ctx, wait) })
}
