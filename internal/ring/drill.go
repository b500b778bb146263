package ring

import (
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// AddDrill puts a frame of one log record into the ring that only a flare of its
// own may take: no sender is ever offered it, it has no seq and is in no
// counter. Stored is copied. AddDrill returns false if there is a drill already,
// or no room without dropping something else.
func (r *Ring) AddDrill(stored []byte, raw int64, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	need := pagesFor(int64(len(stored)))
	if r.drill != nil || r.ended != "" || r.short(need) > 0 {
		return false
	}
	r.order++
	f := &Frame{
		signal: frame.Logs, order: r.order, id: frame.NewBatchID(),
		span: span{from: now, to: now, items: 1, raw: raw}, body: r.newBody(nil),
	}
	f.body.pages = r.space.pool.take(nil, need)
	if err := f.body.append(stored); err != nil {
		panic(err) // the pages were taken above
	}
	r.drill = f
	r.enter(f, drilling)
	return true
}

// isHeld reports whether the items of a frame in the ring count as held.
func (r *Ring) isHeld(f *Frame) bool { return f.fate == Pending && f != r.drill }
