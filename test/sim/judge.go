package sim

import (
	"strconv"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// found is one flare in a store.
type found struct {
	*flare.Flare
	boot   *boot
	put    *put
	object *object
}

// open reads every flare that a store ever took, and writes down what is in it.
func (w *World) open() (all []found) {
	for _, s := range w.stores {
		for _, ob := range s.all() {
			if fl := ob.open(); fl != nil {
				f := found{fl, ob.boot, ob.put, ob}
				w.oracle.finds(f)
				all = append(all, f)
			}
		}
	}
	return all
}

// finds writes down what a flare holds.
func (o *Oracle) finds(f found) {
	b, m := f.boot, &f.Manifest
	if offset := time.Duration(m.Report.ClockOffset) * time.Millisecond; offset.Abs() > time.Hour {
		o.w.count("flares: dated by a clock that is hours away", 1)
	}
	if b.id != "" && m.BootID != b.id {
		o.w.failf("%s: a flare says boot %s, frames say %s", b.name(), m.BootID, b.id)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if m.Reason == flare.Drill {
		if len(f.Frames) != 1 || f.Frames[0].Header.Seq != 0 {
			o.w.failf("%s: a drill of %d frames: %+v", b.name(), len(f.Frames), f.Frames[0].Header)
		}
		return
	}
	for _, fr := range f.Frames {
		tenant := ""
		if v := fr.Meta[tenantKey]; len(v) > 0 {
			tenant = v[0]
		}
		sent := b.frames[fr.BatchID]
		parked := sent != nil && sent.rejected
		// What a flare was given up with may be rejected later.
		if parked != (m.Reason == flare.Rejected) && (!parked || !f.put.stored.IsZero()) {
			o.w.failf("%s: a flare for %s holds frame %s, rejected: %v", b.name(), m.Reason, fr.BatchID, parked)
		}
		for _, id := range f.object.batch(fr.Signal, fr.BatchID).ids {
			o.place(b, id, fr.BatchID, tenant)
			if m.Reason == flare.Rejected {
				continue
			}
			o.records[id].inStores++
			if !f.put.stored.IsZero() {
				o.records[id].stored = true
			}
		}
	}
}

// judge holds what a process counted against what the oracle says.
func (w *World) judge(b *boot, flares []found) {
	var mine []found
	for _, f := range flares {
		if f.boot == b {
			mine = append(mine, f)
		}
	}
	w.judgeSeqs(b, mine)
	reasons := map[flare.Reason]int64{}
	for s := range frame.Signal(numSignals) {
		flared, late := told(b, mine, s)
		c := b.final.Signals[s]
		for reason := range c.Flared {
			if c.Flared[reason] != flared[reason] {
				w.failf("%s: %s: %d items flared for %s, and %d were", b.name(), s, c.Flared[reason], reason, flared[reason])
			}
		}
		if sum(c.Flared) != sum(flared) {
			w.failf("%s: %s: flared %v, and it were %v", b.name(), s, c.Flared, flared)
		}
		for reason, n := range flared {
			reasons[reason] += n
		}
		w.judgeSignal(b, s, late)
	}
	for reason, n := range reasons {
		w.count("items: flared, "+string(reason), n)
	}
	for o, n := range b.final.Flares {
		w.count("flares: "+string(o.Reason)+", "+o.Outcome, n)
	}
	if !b.crashed {
		w.judgeReport(b)
	}
}

// told returns what the process was told to be flared, by reason, and how much
// of that was acked beside it.
func told(b *boot, mine []found, s frame.Signal) (flared map[flare.Reason]int64, late int64) {
	flared = map[flare.Reason]int64{}
	seen := map[uint64]bool{} // the same flare may be in both stores
	for _, f := range mine {
		if f.put.stored.IsZero() || seen[f.Manifest.Seq] || f.Manifest.Reason == flare.Rejected || f.Manifest.Reason == flare.Drill {
			continue
		}
		seen[f.Manifest.Seq] = true
		for _, fr := range f.Frames {
			if fr.Signal != s {
				continue
			}
			flared[f.Manifest.Reason] += fr.Header.Items
			if sent := b.frames[fr.BatchID]; sent != nil && sent.acked {
				late += fr.Header.Items
			}
		}
	}
	return flared, late
}

// judgeSignal predicts the loss of one signal exactly. What a process was told
// to be safe or bad is not lost; everything else that it took is.
func (w *World) judgeSignal(b *boot, s frame.Signal, late int64) {
	a, c := w.oracle.account(b, s), b.final.Signals[s]
	loss := a.accepted - a.kept - a.rejected
	out := c.Delivered + sum(c.Flared)
	counted := sum(c.Lost) + c.Held
	// In a crash the memory may hold frames whose ack waits for the fate of the
	// flare that has them.
	pending := a.kept + a.rejected - out - c.Rejected
	if pending != 0 && (!b.crashed || pending < 0) || a.accepted != c.Accepted || counted != loss+pending ||
		pending == 0 && c.Rejected != a.rejected || c.LateAcks != late || !b.crashed && c.Held != 0 {
		w.failf("%s: %s: crashed %v, late %d: the oracle says %+v, the engine %+v", b.name(), s, b.crashed, late, a, c)
	}
	if w.safe && sum(c.Lost) > 0 {
		w.failf("%s: %s: lost %v while the stores worked", b.name(), s, c.Lost)
	}
	if w.safe && a.accepted > 0 {
		w.count("items: accepted while the stores work", a.accepted)
	}
	w.count("items: accepted", a.accepted)
	w.count("items: delivered", c.Delivered)
	w.count("items: rejected", c.Rejected)
	for reason, n := range c.Lost {
		w.count("items: lost, "+string(reason), n)
	}
	if b.crashed {
		w.count("items: lost in a crash, predicted", loss)
	}
	w.count("items: acked late", c.LateAcks)
	w.count("items: lost but arrived", a.arrived)
	w.count("items: nowhere", a.missing)
	w.count("items: twice", a.twice)
	w.count("items: acked while a crash", pending)
}

// judgeReport checks that every loss was reported.
func (w *World) judgeReport(b *boot) {
	counted := map[string]int64{}
	for _, c := range b.final.Signals {
		for reason, n := range c.Lost {
			counted[string(reason)] += n
		}
	}
	for reason, n := range b.lost {
		if counted[string(reason)] -= n; counted[string(reason)] == 0 {
			delete(counted, string(reason))
		}
	}
	if len(counted) > 0 {
		w.failf("%s: losses that were not reported, or not counted: %v", b.name(), counted)
	}
}

// judgeSeqs checks the numbers of flares: every earlier one of the process is
// named as unresolved, or was known to be stored, and none is given to two flares
// that a store took.
func (w *World) judgeSeqs(b *boot, mine []found) {
	stored, ids := map[uint64]time.Time{}, map[uint64]string{}
	for _, f := range mine {
		if id := ids[f.Manifest.Seq]; id != "" && id != f.Manifest.FlareID {
			w.failf("%s: flares %s and %s have the number %d", b.name(), id, f.Manifest.FlareID, f.Manifest.Seq)
		}
		ids[f.Manifest.Seq] = f.Manifest.FlareID
		if t := f.put.stored; !t.IsZero() {
			stored[f.Manifest.Seq] = t
		}
	}
	for _, f := range mine {
		m := &f.Manifest
		unresolved := map[uint64]bool{}
		for _, seq := range m.Unresolved {
			unresolved[seq] = true
		}
		// A key that was taken makes the agent seal anew, and the first PUT may wait.
		sealed := m.Created.Add(-2*time.Millisecond - time.Duration(m.Report.ClockOffset)*time.Millisecond)
		for seq := uint64(1); seq < m.Seq && m.Seq < 200; seq++ {
			at, known := stored[seq]
			if known && at.After(sealed) && !at.After(f.put.first) {
				continue
			}
			known = known && at.Before(f.put.first)
			if known == unresolved[seq] {
				w.failf("%s: flare %d says unresolved %v, but %d was stored: %v", b.name(), m.Seq, m.Unresolved, seq, known)
			}
		}
	}
	w.judgeFrames(b, mine)
}

// judgeFrames checks the numbers of frames: where nothing was lost, all of them
// arrived, whole or in all their parts.
func (w *World) judgeFrames(b *boot, mine []found) {
	type key struct {
		signal frame.Signal
		seq    string
	}
	arrived := map[key]map[string]bool{}
	note := func(s frame.Signal, seq uint64, id frame.BatchID) {
		k := key{s, strconv.FormatUint(seq, 10)}
		if arrived[k] == nil {
			arrived[k] = map[string]bool{}
		}
		arrived[k][string(id)] = true
	}
	for _, f := range mine {
		for _, fr := range f.Frames {
			note(fr.Signal, fr.Header.Seq, fr.BatchID)
		}
	}
	most := [frame.NumSignals]uint64{}
	for id, f := range b.frames {
		if f.acked {
			note(f.try.signal, f.seq, id)
		}
		most[f.try.signal] = max(most[f.try.signal], f.seq)
	}
	for s := range frame.Signal(numSignals) {
		if c := b.final.Signals[s]; b.crashed || sum(c.Lost) > 0 || c.Rejected > 0 {
			continue
		}
		for seq := uint64(1); seq <= most[s]; seq++ {
			parts := arrived[key{s, strconv.FormatUint(seq, 10)}]
			if !complete(parts, root(parts)) {
				w.failf("%s: %s: frame %d is not complete: %v", b.name(), s, seq, parts)
			}
		}
		w.count("frames: numbered without a gap", int64(most[s])) //nolint:gosec // a small number
	}
}

func root(parts map[string]bool) string {
	for id := range parts {
		return id[:32]
	}
	return ""
}

// complete reports whether a frame arrived, or both its halves did.
func complete(parts map[string]bool, id string) bool {
	return len(parts) > 0 && len(id) < 32+2*24 && (parts[id] || complete(parts, id+".0") && complete(parts, id+".1"))
}
