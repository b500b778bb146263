package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// boot is one process of an agent, from its start to its shutdown or crash,
// and what the servers saw of it.
type boot struct {
	agent  *agent
	nth    int
	fuse   map[string]int // it crashes in one of so many calls of an edge
	engine *delivery.Engine
	dead   chan struct{}  // closed: it crashed, nothing reaches it any more
	gone   chan struct{}  // closed: it has ended
	doomed chan struct{}  // closed: it crashes in this very instant
	reads  sync.WaitGroup // bodies that are read after their call, and ticks

	// Set at the end.

	crashed bool
	final   delivery.Snapshot

	mu sync.Mutex
	// mu guards the following.
	id     string // as its frames say
	frames map[frame.BatchID]*sent
	acks   [frame.NumSignals]int // frames acked
	flares map[string]*put       // by id
	ids    int                   // of flares, so far
	lost   map[delivery.LossReason]int64
	last   [frame.NumSignals]delivery.Items // at the latest tick
}

// sent is what is known of the attempts to send one frame.
type sent struct {
	try       *try
	seq       uint64
	sum       [sha256.Size]byte // of the stored bytes
	sends     int64
	attempt   int64 // the latest
	running   bool
	failures  int
	latest    otlpsend.Verdict
	acked     bool
	rejected  bool // parked
	firstAcks int  // acks of the signal before the first attempt, of the frame it was cut from if it is a half
}

func (b *boot) name() string { return b.agent.name + " boot " + strconv.Itoa(b.nth) }

// fuses draws in what calls the process crashes, if it lives to see it.
func (b *boot) fuses() {
	switch r := b.agent.w.dice("fuse", b.name()); r.IntN(4) {
	case 0:
		b.fuse = map[string]int{"put": 1 + r.IntN(5)}
	case 1:
		b.fuse = map[string]int{"send": pick(r, 20, 200)}
	}
}

// passes lets a call take its course. In a call that it dies in, the process
// dies before the effect or after it.
func (b *boot) passes(ctx context.Context, edge string, c course, dice *rand.Rand, effect func()) (done, answered bool) {
	dies := b.fuse[edge] > 0 && chance(dice, b.fuse[edge])
	if !dies || !chance(dice, 3) {
		done, answered = c.pass(ctx, b.dead, effect)
	}
	if !dies || closed(b.dead) {
		return done, answered
	}
	b.doom(edge)
	<-b.dead
	return done, false
}

// doom has the process crash in this instant.
func (b *boot) doom(edge string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !closed(b.doomed) {
		b.agent.w.count("agent: dies in a "+edge, 1)
		close(b.doomed)
	}
}

// begins notes that a request was begun, and checks what its headers say. It
// returns nil if it cannot be understood.
func (b *boot) begins(r *otlpsend.Request) *try {
	w := b.agent.w
	header, err := frame.ParseHeader(r.Header[frame.HeaderFrame])
	batch, ok := frame.ParseBatchID(r.Header[frame.HeaderBatchID])
	if err != nil || !ok || r.Header[frame.HeaderSize] != strconv.FormatInt(r.RawSize, 10) || r.Header[frame.HeaderAudience] != audience {
		w.failf("%s: headers %v: %v", b.name(), r.Header, err)
		return nil
	}
	var body bytes.Buffer
	_, _ = r.Body.WriteTo(&body)
	sum := sha256.Sum256(body.Bytes())
	counts := b.engine.Snapshot().Signals[r.Signal]

	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.frames[batch]
	if f == nil {
		ids, err := decode(r.Signal, frame.Bytes(body.Bytes()), r.RawSize)
		if err != nil || int64(len(ids)) != header.Items {
			w.failf("%s: a frame of %d items has %d: %v", b.name(), header.Items, len(ids), err)
			return nil
		}
		f = &sent{seq: header.Seq, try: &try{signal: r.Signal, batch: batch, rawSize: r.RawSize, ids: ids}, sum: sum, firstAcks: b.firstAcks(r.Signal, batch)}
		b.frames[batch] = f
	}
	if sum != f.sum {
		w.failf("%s: frame %s changed between two attempts", b.name(), batch)
	}
	b.checkHeader(f, &header, counts)
	f.sends++
	f.running = true
	t := *f.try
	t.header = header
	return &t
}

// firstAcks returns the acks of the signal before a frame that is new was first
// sent, in one piece if it is a half. mu is held.
func (b *boot) firstAcks(s frame.Signal, batch frame.BatchID) int {
	if i := strings.LastIndexByte(string(batch), '.'); i > 0 {
		if parent := b.frames[batch[:i]]; parent != nil {
			return parent.firstAcks
		}
	}
	return b.acks[s]
}

// checkHeader holds what a frame says of itself against what is known. mu is held.
func (b *boot) checkHeader(f *sent, h *frame.Header, c delivery.Items) {
	w := b.agent.w
	unknown := int64(0)
	for _, p := range b.flares {
		if p.unknown {
			unknown++
		}
	}
	if b.id == "" {
		b.id = h.Boot
	}
	before := b.last[f.try.signal]
	switch {
	case h.Agent != b.agent.settings.Agent || h.Boot != b.id:
		w.failf("%s: a frame says it is of %s, boot %s, and not %s", b.name(), h.Agent, h.Boot, b.id)
	case f.running || f.acked || f.rejected:
		w.failf("%s: frame %s is sent again: running %v, acked %v, rejected %v", b.name(), f.try.batch, f.running, f.acked, f.rejected)
	case h.Attempt <= f.attempt || h.Attempt < f.sends+1 || h.Attempt > f.sends+1+unknown:
		w.failf("%s: attempt %d after %d and %d sends, %d flares of unknown fate", b.name(), h.Attempt, f.attempt, f.sends, unknown)
	case h.Lost < sum(before.Lost) || h.Lost > sum(c.Lost):
		w.failf("%s: a frame tells %d lost, and it was %d and is %d", b.name(), h.Lost, sum(before.Lost), sum(c.Lost))
	case h.Rejected < before.Rejected || h.Rejected > c.Rejected:
		w.failf("%s: a frame tells %d rejected, and it was %d and is %d", b.name(), h.Rejected, before.Rejected, c.Rejected)
	case h.Lost > 0 && c.Lost[delivery.LossReason(h.LostReason)] == 0:
		w.failf("%s: a frame tells of a loss for %q, which never was", b.name(), h.LostReason)
	}
	f.attempt = h.Attempt
}

// ends notes what the process was told about a request.
func (b *boot) ends(t *try, a *otlpsend.Answer) {
	o := b.agent.w.oracle
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.frames[t.batch]
	f.running = false
	f.latest = a.Verdict
	if a.Verdict != otlpsend.Delivered {
		f.failures++
		return
	}
	f.acked = true
	b.acks[t.signal]++
	o.told(t.ids, func(r *record) { r.acked = true })
	o.told(t.refused, func(r *record) { r.acked, r.refused = false, true })
	f.try.refused = t.refused
}

// rejects is told by the engine that items are bad. The message is the gateway's,
// and names the frame.
func (b *boot) rejects(s frame.Signal, items int64, message string) {
	if closed(b.dead) {
		return
	}
	w := b.agent.w
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.frames[frame.BatchID(message)]
	switch {
	case f == nil || f.try.signal != s:
		w.failf("%s: %d items are rejected of frame %q", b.name(), items, message)
		return
	case f.acked:
		if items != int64(len(f.try.refused)) {
			w.failf("%s: %d items of frame %s are rejected, and %d were", b.name(), items, message, len(f.try.refused))
		}
		return
	}
	others := b.acks[s] > f.firstAcks // another frame of the signal was acked since
	proven := others && f.latest == otlpsend.BadData
	single := len(f.try.ids) == 1 && (f.latest == otlpsend.TooLarge || f.failures >= 5)
	if items != int64(len(f.try.ids)) || f.rejected || !proven && !single {
		w.failf("%s: frame %s of %d is rejected, %d items: %s, acks %d of %d, failures %d",
			b.name(), message, len(f.try.ids), items, f.latest, b.acks[s], f.firstAcks, f.failures)
	}
	f.rejected = true
	w.oracle.told(f.try.ids, func(r *record) { r.parked = true })
}

// observer returns what the engine reports to.
func (b *boot) observer() delivery.Observer {
	w := b.agent.w
	return delivery.Observer{
		Rejected: b.rejects,
		// What an ack and a stored flare set going comes before what the ack itself
		// does next.
		Gateway: func(ok bool, _ otlpsend.Cause, _ error) {
			if ok {
				b.rest("acked")
			}
		},
		Flared: func(*flare.Manifest, string, time.Duration, int64) { b.rest("flared") },
		Lost: func(_ frame.Signal, reason delivery.LossReason, n int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.lost[reason] += n
		},
		Dropped: func(_ frame.Signal, n int64) {
			if !closed(b.dead) {
				w.count("items: rejected and dropped", n)
			}
		},
		Bucket: func(target string, ok bool, _ error) {
			if target == "" && !ok && !closed(b.dead) {
				w.count("keys: a flare found them broken", 1)
			}
		},
	}
}

// rest returns when all else that happens in this instant has happened.
func (b *boot) rest(what string) {
	if !closed(b.dead) {
		b.agent.w.rests.rest(what + " " + b.name())
	}
}

// newID returns the id of a flare, which depends on how many there were.
func (b *boot) newID() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids++
	return b.agent.w.id(b.name(), b.ids)
}

// sealer is the engine's way to its key files. What begins in the same instant as
// a flare has begun when it takes its frames.
func (b *boot) sealer() (*flare.Sealer, error) {
	b.rest("flares")
	if now(b.agent.w.keyFiles).mood == "broken" {
		return nil, errors.New("recipients_file: broken")
	}
	return b.agent.w.keys.Sealer, nil
}

// look checks what must be true at every instant.
func (b *boot) look() delivery.Snapshot {
	s := b.engine.Snapshot()
	if closed(b.dead) {
		return s
	}
	w := b.agent.w
	for i, c := range s.Signals {
		if total := c.Delivered + sum(c.Flared) + c.Rejected + sum(c.Lost) + c.Held; total != c.Accepted || c.Held < 0 {
			w.failf("%s: %s: accepted %d, accounted for %d: %+v", b.name(), frame.Signal(i), c.Accepted, total, c)
		}
	}
	if s.Used > s.Capacity {
		w.failf("%s: %d bytes are used of %d", b.name(), s.Used, s.Capacity)
	}
	return s
}

// tick looks once in a second, and remembers what it saw.
func (b *boot) tick() {
	s := b.look()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = s.Signals
}

// flareID returns the id in an object's key.
func flareID(key string) string {
	return strings.TrimSuffix(strings.TrimPrefix(key, prefix), ".age")
}

func sum[K comparable](m map[K]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}

// until returns how long it is to a time.
func until(at time.Time) time.Duration { return max(time.Until(at), 0) }
