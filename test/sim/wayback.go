package sim

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// wayBack is one recovery process's way to the gateway. It implements
// otlpsend.Transport.
type wayBack struct {
	gateway *gateway
	process *process
}

// Send implements otlpsend.Transport.
func (wb wayBack) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	p, g := wb.process, wb.gateway
	none := otlpsend.Answer{Verdict: otlpsend.Down, Cause: otlpsend.CauseTimeout, Err: errors.New("no answer")}
	if closed(p.dead) {
		return none
	}
	t, ob := p.reads(r)
	if t == nil { // the oracle has told what is wrong with it
		return otlpsend.Answer{Verdict: otlpsend.Broken, Cause: otlpsend.CauseClient, Err: errors.New("not readable")}
	}
	what := []any{p.name(), ob.store.name, ob.name(), r.Signal, t.header.Seq, t.batch[32:]}
	n := p.begins("forward " + requestKey(ob, t))
	dice := g.w.dice(append(what, n)...)
	c, answer, kind := g.decide(dice, t)
	p.sends(r.Body.Len())
	done, answered := p.passes(ctx, c, dice, func() { g.w.oracle.returns(ob, t, r.Meta) })
	p.note(func(p *process) { p.onWay-- })
	g.w.happened(g.name+": "+when(kind, done), append(what, n, answered)...)
	if !answered {
		return none
	}
	p.told(ob, t, &answer)
	return answer
}

func requestKey(ob *object, t *try) string {
	return ob.id + " " + t.signal.String() + " " + string(t.batch)
}

// reads reads a request as the gateway does, and holds it against the flare that
// it says it comes from. It returns nil if it does not come from there.
func (p *process) reads(r *otlpsend.Request) (*try, *object) {
	w := p.replica.w
	ob := p.replica.store.object(r.Header[frame.HeaderFlareID])
	header, err := frame.ParseHeader(r.Header[frame.HeaderFrame])
	id, ok := frame.ParseBatchID(r.Header[frame.HeaderBatchID])
	if err != nil || !ok || ob == nil || !ob.returns() {
		w.failf("%s: forwards what is not to be: %v: %v", p.name(), r.Header, err)
		return nil, nil
	}
	b := ob.batch(r.Signal, id)
	if b == nil {
		w.failf("%s: forwards batch %s, which is not in %s", p.name(), id, ob.name())
		return nil, nil
	}
	t := &try{signal: r.Signal, batch: id, header: header, rawSize: r.RawSize}
	var body bytes.Buffer
	_, _ = r.Body.WriteTo(&body)
	whole := id == b.BatchID
	if whole {
		t.ids = b.ids
	} else if t.ids, err = decode(r.Signal, frame.Bytes(body.Bytes()), r.RawSize); err != nil {
		w.failf("%s: half a frame of %s: %v", p.name(), ob.name(), err)
		return nil, nil
	}
	meta := maps.Clone(b.Meta)
	if meta == nil {
		meta = map[string][]string{}
	}
	meta[tenantHeader] = []string{"acme"}
	switch {
	case whole && (r.Header[frame.HeaderFrame] != b.text || !b.is(body.Bytes()) || r.RawSize != b.RawSize):
		w.failf("%s: frame %s of %s is not as it was stored: %v", p.name(), id, ob.name(), r.Header)
	case !whole && (header.Seq != b.Header.Seq || header.Boot != b.Header.Boot || header.Items != int64(len(t.ids)) || header.Attempt != 1 || !within(t.ids, b.ids)):
		w.failf("%s: half %s of %s is no part of it: %v", p.name(), id, ob.name(), r.Header)
	case r.Header[frame.HeaderAgent] != principal || r.Header[frame.HeaderAudience] != audience ||
		r.Header[frame.HeaderSize] != strconv.FormatInt(r.RawSize, 10) || !maps.EqualFunc(meta, r.Meta, slices.Equal):
		w.failf("%s: frame %s of %s has headers %v and %v", p.name(), id, ob.name(), r.Header, r.Meta)
	}
	p.mayForward(ob, t)
	return t, ob
}

func within(part, whole []int) bool {
	for _, id := range part {
		if !slices.Contains(whole, id) {
			return false
		}
	}
	return len(part) > 0 && len(part) < len(whole)
}

// mayForward checks that the process may send this, by what it was told.
func (p *process) mayForward(ob *object, t *try) {
	w := p.replica.w
	w.oracle.mu.Lock()
	marked := ob.marked
	w.oracle.mu.Unlock()
	p.note(func(p *process) {
		switch {
		case p.acked[requestKey(ob, t)]:
			w.failf("%s: frame %s of %s is sent again after its ack", p.name(), t.batch, ob.name())
		case !p.looked[ob.id]:
			w.failf("%s: frame %s of %s is sent, and done/ did not say no", p.name(), t.batch, ob.name())
		case marked && p.replica.store.replicas > 1: // another one was faster, after this one had looked
			w.count("recovery: forwards what another one has done, leases: "+strconv.FormatBool(p.replica.store.leases), 1)
		case marked:
			w.failf("%s: frame %s of %s is sent after the flare was done", p.name(), t.batch, ob.name())
		}
	})
}

// note changes what is known of the process.
func (p *process) note(what func(*process)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what(p)
}

// returns is called when the gateway takes a frame out of a flare.
func (o *Oracle) returns(ob *object, t *try, meta map[string][]string) {
	tenant := ""
	if v := meta[tenantKey]; len(v) > 0 {
		tenant = v[0]
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if ob.marked {
		o.w.count("recovery: a forward comes in after another one was done, leases: "+strconv.FormatBool(ob.store.leases), 1)
	}
	o.log = append(o.log, entry{t.batch, len(t.ids) - len(t.refused)})
	for _, id := range t.ids {
		if !slices.Contains(t.refused, id) {
			o.place(ob.boot, id, t.batch, tenant)
			o.records[id].returned++
			ob.got[id]++
		}
	}
}

// told notes what the process learned of a request. A record is refused for good
// when it was refused again after another one of its signal was acked.
func (p *process) told(ob *object, t *try, a *otlpsend.Answer) {
	o, key := p.replica.w.oracle, requestKey(ob, t)
	var barred []int
	p.note(func(p *process) {
		first, again := p.doubts[key]
		switch {
		case a.Verdict == otlpsend.Delivered:
			p.acked[key] = true
			p.acks[t.signal]++
			p.asks(t, a.Window)
			delete(p.doubts, key)
			barred = t.refused
		case a.Verdict == otlpsend.TooLarge && len(t.ids) > 1:
			delete(p.doubts, key)
		case a.Verdict != otlpsend.TooLarge && a.Verdict != otlpsend.BadData:
		case !again:
			p.doubts[key] = p.acks[t.signal]
		case p.acks[t.signal] > first:
			barred = t.ids
		}
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, id := range barred {
		ob.barred[id] = true
	}
}

// window returns how many records a gateway asks for in an ack; 0: it does not say.
func (g *gateway) window(dice *rand.Rand) int {
	switch s := now(g.windows); s.mood {
	case "silent":
		return 0
	case "restless":
		return pick(dice, 0, 1, 2, 3, 5, 16)
	default:
		return 1 + int(s.salt%4)
	}
}

// lately is of how many acks the windows are remembered: more than there are records
// on their way, so that the latest of these began under one of them.
const lately = 8

// asks notes the window that an ack asked for, or 0. The halves of a record stay on
// the way through many acks. mu is held.
func (p *process) asks(t *try, window int) {
	w, before := p.replica.w, 0
	if len(p.asked) > 0 {
		before = p.asked[len(p.asked)-1]
	}
	switch {
	case window == 0 && before > 0:
		w.count("inner gateway: asks for no window any more", 1)
	case window > 0 && before > 0 && window != before:
		w.count("inner gateway: asks for another window", 1)
	case window > 0:
		w.count("inner gateway: asks for a window", 1)
	}
	if p.asked = append(p.asked, window); t.batch != t.batch.Root() {
		p.asked = []int{window}
	}
	p.asked = p.asked[max(0, len(p.asked)-lately):]
}

// sends notes that a record is on its way, and checks that there are no more of
// them than there may be, and that it is the time for this one.
func (p *process) sends(stored int64) {
	w := p.replica.w
	p.note(func(p *process) {
		if early := until(p.slot); early > time.Microsecond {
			w.failf("%s: a record is sent %s before its time", p.name(), early)
		}
		if p.slot = time.Now().Add(time.Duration(float64(stored) / float64(p.rate) * float64(time.Second))); until(p.slot) > time.Second {
			w.count("recovery: a record that the next one waits for", 1)
		}
		if p.onWay++; p.onWay > 1 {
			w.count("recovery: several records on their way", 1)
		}
		most := p.senders
		if len(p.asked) == lately && slices.Min(p.asked) > 0 {
			most = min(most, slices.Max(p.asked))
		}
		switch {
		case p.onWay > most:
			w.failf("%s: %d records are on their way, %d senders, the gateway asked for %v", p.name(), p.onWay, p.senders, p.asked)
		case p.onWay == most && most < p.senders:
			w.count("recovery: as many records on their way as the gateway asked for", 1)
		}
	})
}
