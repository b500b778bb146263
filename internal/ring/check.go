package ring

import (
	"fmt"
	"slices"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Check reports the first broken invariant of the ring, for tests: that counts
// add up, that every frame stands in the queue of its state in order, and that
// all pages are accounted for and within the capacity.
func (r *Ring) Check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var heldItems [frame.NumSignals]int64
	pages, parkedPages := int64(0), int64(0)
	for s := range r.queues {
		n, prev := 0, (*Frame)(nil)
		for f := r.queues[s].first; f != nil; f = f.node.next {
			if f.state != state(s) || f.node.prev != prev || prev != nil && prev.order > f.order {
				return fmt.Errorf("frame %s in state %d stands wrongly in queue %d", f.id, f.state, s)
			}
			rejected := f.state == parked || f.state == flaring && f.fate == Rejected
			if f.body.refs < 1 || (f.fate != Pending) != rejected {
				return fmt.Errorf("frame %s in state %d: %d references, fate %s", f.id, f.state, f.body.refs, f.fate)
			}
			if f == r.drill && f.state < flaring {
				return fmt.Errorf("a drill in state %d", f.state)
			}
			if r.isHeld(f) {
				heldItems[f.signal] += f.span.items
			}
			if f.state != sealing { // its pages are with whoever seals it
				pages += f.body.cost()
			}
			if f.state == parked {
				parkedPages += f.body.cost()
			}
			if f.state == held && f.done != nil != slices.Contains(r.tried, f) {
				return fmt.Errorf("frame %s was tried, or not, and is listed otherwise", f.id)
			}
			n, prev = n+1, f
		}
		if n != r.queues[s].len || prev != r.queues[s].last {
			return fmt.Errorf("queue %d has %d frames and says %d", s, n, r.queues[s].len)
		}
	}
	for s, c := range r.counts {
		sum := c.delivered + c.rejected + c.held
		for _, m := range []map[string]int64{c.flared, c.lost} {
			for _, n := range m {
				sum += n
			}
		}
		if c.accepted != sum || c.held != heldItems[s] {
			return fmt.Errorf("%s: accepted %d, accounted for %d, held %d of %d", frame.Signal(s), c.accepted, sum, c.held, heldItems[s])
		}
	}
	if len(r.openBy) != r.queues[open].len || pages > r.space.frames() || r.space.blobs.written > r.space.blobs.reserved {
		return fmt.Errorf("%d open frames of %d, %d pages of %d, %+v", len(r.openBy), r.queues[open].len, pages, r.space.frames(), r.space.blobs)
	}
	if r.space.parked != parkedPages || r.space.side < 0 || len(r.tried) > r.queues[held].len {
		return fmt.Errorf("%d pages parked of %d, %d beside, %d frames tried", parkedPages, r.space.parked, r.space.side, len(r.tried))
	}
	if used := r.space.frames() + r.space.blobs.reserved; used*PageSize > r.cfg.Capacity {
		return fmt.Errorf("%d pages are more than the capacity", used)
	}
	if most := r.cfg.Capacity + chunkSize - 1; int64(r.space.pool.chunks)*chunkSize > most {
		return fmt.Errorf("%d chunks are more than %d bytes", r.space.pool.chunks, most)
	}
	return r.space.pool.check()
}

// check finds that every chunk stands in its row, and that no more are kept
// than are needed.
func (p *pages) check() error {
	chunks, used := 0, int64(0)
	for n, row := range p.rows {
		for i, c := range row {
			if c.used() != n || c.at != i || len(c.mem) != chunkSize {
				return fmt.Errorf("a chunk with %d pages in use stands at %d in row %d of those with %d", c.used(), c.at, i, n)
			}
			chunks, used = chunks+1, used+int64(n)
		}
	}
	if chunks != p.chunks || used != p.out || len(p.rows[0]) > p.spare {
		return fmt.Errorf("%d chunks of %d, %d pages of %d, %d chunks empty", chunks, p.chunks, used, p.out, len(p.rows[0]))
	}
	return nil
}
