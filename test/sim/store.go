package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// store is the model of one bucket: a bucket.Fake that keeps the contract, and
// the weather in front of it, which is another one for agents and for recoveries.
type store struct {
	w       *World
	name    string
	fake    *bucket.Fake
	clock   func() time.Time
	moods   []spell
	readers []spell
	trust   []spell // the key files of its recoveries

	replicas int  // how many recoveries share it
	leases   bool // they know of each other

	mu sync.Mutex
	// mu guards the following.
	objects map[string]*object     // all it ever took from agents, by id
	tries   map[string]*process    // who wrote a try marker
	holders map[string]*process    // who wrote the lease of a shard
	listed  map[string]bucket.Page // what listings found when they were last true
	altered map[string]int         // how often an object was handed out with other bytes
}

// writer is one process's way to a store. It implements bucket.Bucket for an
// agent, which has no right but to put.
type writer struct {
	bucket.Bucket // everything but Put is what the store itself does
	store         *store
	boot          *boot
}

// foreign is an object that is no flare.
var foreign = frame.Bytes("not a flare")

// put is what is known of the attempts to store one flare.
type put struct {
	nth     int // the how many-th flare of its process
	sum     [sha256.Size]byte
	first   time.Time
	tries   map[string]int // by store
	unknown bool           // an answer said so
	stored  time.Time      // when the agent learned that it is; zero: never
}

// Put implements bucket.Bucket.
func (wr *writer) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (info bucket.Info, err error) {
	s, b, w := wr.store, wr.boot, wr.store.w
	if closed(b.dead) {
		return info, refused(key, &bucket.Error{Kind: bucket.Unknown, Err: errors.New("no answer")})
	}
	b.look()
	p, n := b.puts(key, s.name, body)
	dice := w.dice(s.name, b.name(), p.nth, n)
	c, refusal, kind := s.decide(dice, n)
	if kind == "half" {
		_, _ = body.WriteTo(&short{left: body.Len() / 2})
	}
	done, answered := b.passes(ctx, "put", c, dice, func() {
		if kind == "exists" { // somebody else's object is there
			_, _ = s.fake.Put(context.WithoutCancel(ctx), key, foreign, bucket.PutOptions{IfNoneMatch: true})
			s.keeps(&object{id: flareID(key), foreign: true, boot: b, put: p})
		}
		if info, err = s.fake.Put(context.WithoutCancel(ctx), key, body, opts); err == nil {
			var data bytes.Buffer
			_, _ = body.WriteTo(&data)
			s.keeps(&object{id: flareID(key), data: data.Bytes(), boot: b, put: p})
		}
	})
	w.happened(s.name+": "+when(kind, done && err == nil), b.name(), p.nth, n, answered)
	switch {
	case !answered:
		err = refused(key, &bucket.Error{Kind: bucket.Unknown, Err: errors.New("no answer")})
	case refusal != nil:
		err = refused(key, refusal)
	}
	if err != nil {
		info = bucket.Info{}
	}
	if !closed(b.dead) {
		b.putEnds(p, kind, err)
	}
	return info, err
}

func refused(key string, e *bucket.Error) error {
	e.Op, e.Key = "put", key
	return e
}

// decide draws how one PUT goes, and what is answered if not what the store says.
func (s *store) decide(dice *rand.Rand, n int) (c course, refusal *bucket.Error, kind string) {
	mood := now(s.moods).mood
	if mood == "flaky" {
		mood = pick(dice, "ok", storeFoul[dice.IntN(len(storeFoul))])
	}
	if mood == "exists" && (n > 1 || chance(dice, 2)) {
		mood = "ok"
	}
	c = fair(dice).fault(dice, mood)
	if mood == "exists" {
		// Keys are random: that one is taken is a fault of the first PUT alone, and
		// its answer is not lost.
		c.effect, c.wire, c.after, c.close = true, false, 0, true
	}
	return c, s.refuses(mood), mood
}

// refuses returns what a store in this mood answers; nil: what is true.
func (s *store) refuses(mood string) *bucket.Error {
	kinds := map[string]bucket.Kind{
		"denied": bucket.Denied, "throttled": bucket.Throttled, "refused": bucket.Refused, "unreachable": bucket.Unreachable,
		"unknown": bucket.Unknown, "unknown_late": bucket.Unknown, "half": bucket.Unknown,
	}
	k, foul := kinds[mood]
	if !foul {
		return nil
	}
	e := &bucket.Error{Kind: k, Err: errors.New("the store refuses")}
	if k != bucket.Unreachable && k != bucket.Unknown {
		e.Date = s.clock()
	}
	return e
}

// puts finds what is known of the flare under key, and the number of this
// attempt to put it into the store. A sealed flare never changes.
func (b *boot) puts(key, store string, body frame.Body) (p *put, n int) {
	h := sha256.New()
	_, _ = body.WriteTo(h)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	id := flareID(key)
	b.mu.Lock()
	defer b.mu.Unlock()
	p = b.flares[id]
	if p == nil {
		p = &put{nth: len(b.flares) + 1, sum: sum, first: time.Now(), tries: map[string]int{}}
		b.flares[id] = p
	}
	if !bytes.Equal(p.sum[:], sum[:]) {
		b.agent.w.failf("%s: flare %d changed after it was sealed", b.name(), p.nth)
	}
	p.tries[store]++
	return p, p.tries[store]
}

// putEnds notes what the agent was told.
func (b *boot) putEnds(p *put, kind string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch k := bucket.KindOf(err); {
	case err == nil, k == bucket.Exists && kind != "exists":
		if p.stored.IsZero() {
			p.stored = time.Now()
		}
	case k == bucket.Unknown, k == bucket.Throttled:
		p.unknown = true
	}
}
