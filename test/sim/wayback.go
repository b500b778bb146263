package sim

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

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
	done, answered := p.passes(ctx, c, dice, func() { g.w.oracle.returns(ob, t, r.Meta) })
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
