package ring

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// The reasons why the ring takes nothing.
var (
	ErrFull     = errors.New("the ring is full")             // later there may be room
	ErrTooLarge = errors.New("the call cannot fit the ring") // there will never be
	ErrClosed   = errors.New("the intake is closed")
)

// Config configures a Ring. Sizes are bytes.
type Config struct {
	Agent, Boot string // for the headers of frames
	Capacity    int64  // whole pages of frames and of sealed flares together
	SetAside    int64  // of Capacity, kept free of frames for sealed flares
	MaxFrame    int64  // uncompressed; what an open frame grows to
	Join        bool   // false: one frame per piece
	DropOldest  bool   // when full: drop instead of refuse
	NewestFirst bool   // offer the newest frames to senders first
}

// Usable returns the bytes that frames may take.
func (c Config) Usable() int64 { return c.Capacity - c.SetAside }

// Ring holds frames. Make one with New.
type Ring struct {
	cfg Config

	mu sync.Mutex
	// mu guards the following.

	space   space
	openBy  map[openKey]*Frame // the frames in state open
	queues  [out]queue         // by state
	tried   []*Frame           // those in state held that were leased before, in the order of their return
	order   uint64             // of the newest frame
	sends   sends
	closed  [frame.NumSignals]bool
	ended   string // LoseAll was called for this reason
	counts  [frame.NumSignals]counts
	dropped string // why frames dropped for room are lost
	news    News
	drill   *Frame // at most one; nil: none
}

// space is the memory of a ring, in pages.
type space struct {
	pool   pages
	blobs  blobPages
	side   int64  // what frames have beside their bytes
	parked int64  // what parked frames count as
	list   []page // empty: the next open frame lists its pages in it
}

// frames returns what frames count as, in pages; those included that left and
// are still read.
func (s *space) frames() int64 { return s.pool.out - s.blobs.written + s.side }

// sends is what a ring knows of the attempts with its frames.
type sends struct {
	raw      int   // frames in state sealing that a sender waits for
	borrowed int   // attempts with frames that a flare held
	acks     int64 // frames acked, of all signals
	probes   probes
}

type openKey struct {
	signal frame.Signal
	key    string
}

// New returns an empty ring.
func New(cfg Config) *Ring {
	r := &Ring{cfg: cfg, space: space{pool: pages{source: system(), spare: spareChunks}}, openBy: map[openKey]*Frame{}, dropped: "ring_full"}
	for s := range r.counts {
		r.counts[s].flared, r.counts[s].lost = map[string]int64{}, map[string]int64{}
	}
	return r
}

// Call is telemetry that is handed in at once.
type Call struct {
	Signal frame.Signal
	Meta   map[string][]string // never modified afterwards
	Key    string              // equal for equal Meta: frames of different keys never mix
	Pieces []Piece
	Now    time.Time
}

// Piece is one encoded export request.
type Piece struct {
	Raw   []byte // copied
	Items int64
}

// Push takes all pieces of c or none of them. Once it returned nil they count
// as accepted. The frames it returns are full: the caller hands each to Seal.
// Begun is true if a frame was opened that is not full.
func (r *Ring) Push(c Call) (full []*Frame, begun bool, err error) {
	need, side := int64(0), sidePages(c.Meta)
	for _, p := range c.Pieces {
		need += pagesFor(sealedBound(int64(len(p.Raw)))) + 1 + side // it may straddle one page more when joined
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed[c.Signal] {
		return nil, false, ErrClosed
	}
	if err := r.makeRoom(need); err != nil {
		return nil, false, err
	}
	before := r.order
	for _, p := range c.Pieces {
		full = r.add(full, &c, p)
	}
	f := r.openBy[openKey{c.Signal, c.Key}]
	return full, f != nil && f.order > before, nil
}

// add appends p to the open frame of c, and what became full to the list.
func (r *Ring) add(full []*Frame, c *Call, p Piece) []*Frame {
	key := openKey{c.Signal, c.Key}
	f := r.openBy[key]
	size := int64(len(p.Raw))
	if f != nil && (!r.joins(c.Signal) || f.span.raw+size > r.cfg.MaxFrame) {
		full = append(full, r.takeOpen(f))
		f = nil
	}
	if f == nil {
		r.order++
		f = &Frame{signal: c.Signal, meta: c.Meta, key: c.Key, order: r.order, body: r.newBody(c.Meta)}
		f.body.pages, r.space.list = r.space.list, nil
		f.span.from = c.Now
		r.openBy[key] = f
		r.enter(f, open)
	}
	f.span.to = c.Now
	f.span.items += p.Items
	f.span.raw += size
	if more := pagesFor(sealedBound(f.span.raw)) - int64(len(f.body.pages)); more > 0 {
		f.body.pages = r.space.pool.take(f.body.pages, more)
	}
	if err := f.body.append(p.Raw); err != nil {
		panic(err) // the pages were taken above
	}
	r.counts[c.Signal].accepted += p.Items
	r.counts[c.Signal].held += p.Items
	if !r.joins(c.Signal) || f.span.raw >= r.cfg.MaxFrame {
		full = append(full, r.takeOpen(f))
	}
	return full
}

// newBody returns a body without pages for a frame with meta.
func (r *Ring) newBody(meta map[string][]string) extent {
	side := sidePages(meta)
	r.space.side += side
	return extent{side: side, refs: 1}
}

// joins reports whether requests of s may be joined: the tables of two requests
// of profiles would mix.
func (r *Ring) joins(s frame.Signal) bool { return r.cfg.Join && s != frame.Profiles }

// takeOpen has f sealed, and gives it its identity: in the order in which frames
// are taken, and not in that in which compressing ends.
func (r *Ring) takeOpen(f *Frame) *Frame {
	delete(r.openBy, openKey{f.signal, f.key})
	f.key = "" // it names open frames only, and may be as long as the metadata
	f.id = frame.NewBatchID()
	r.counts[f.signal].seq++
	f.seq = r.counts[f.signal].seq
	r.move(f, sealing)
	return f
}

// Close ends the intake of s: every later Push is refused.
func (r *Ring) Close(s frame.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed[s] = true
}

// TakeOpen takes the oldest open frame that was begun at or before the given
// time, for the caller to hand to Seal; nil if there is none.
func (r *Ring) TakeOpen(begun time.Time) *Frame {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.queues[open].first
	if f == nil || f.span.from.After(begun) {
		return nil
	}
	return r.takeOpen(f)
}

// makeRoom makes sure that frames may take need pages more, if it must by
// dropping: a drill and parked frames first, then the oldest held ones. Frames
// that somebody still reads would free nothing and stay.
func (r *Ring) makeRoom(need int64) error {
	if need*PageSize > r.cfg.Usable() {
		return ErrTooLarge
	}
	short := r.short(need)
	var victims []*Frame
	for _, s := range []state{drilling, parked, held} {
		if s == held && !r.cfg.DropOldest {
			break
		}
		for f := r.queues[s].first; f != nil && short > 0; f = f.node.next {
			if f.body.refs == 1 {
				victims = append(victims, f)
				short -= f.body.cost()
			}
		}
	}
	if short > 0 {
		return ErrFull // nothing is dropped for a call that does not fit all the same
	}
	for _, f := range victims {
		r.drop(f)
	}
	return nil
}

// short returns how many pages are missing before frames may take need more.
func (r *Ring) short(need int64) int64 {
	blobs := max(r.space.blobs.reserved, pagesFor(r.cfg.SetAside))
	return r.space.frames() + need + blobs - r.cfg.Capacity/PageSize
}

func (r *Ring) drop(f *Frame) {
	switch f.state {
	case drilling:
		r.leave(f, Lost) // nothing was: it is in no counter
		return
	case parked:
		r.news.ParkedDropped[f.signal] += f.span.items
		r.leave(f, Rejected)
		return
	}
	r.lose(f, r.dropped)
}

// enter puts a new frame into a state, exit takes it out of its state, and move
// takes it to another one.
func (r *Ring) enter(f *Frame, s state) {
	f.state = s
	r.queues[s].insert(f)
	switch {
	case s == held && f.done != nil:
		r.tried = append(r.tried, f)
	case s == parked:
		r.space.parked += f.body.cost()
	}
}

func (r *Ring) exit(f *Frame) {
	r.queues[f.state].remove(f)
	switch {
	case f.state == held && f.done != nil:
		i := slices.Index(r.tried, f)
		r.tried = slices.Delete(r.tried, i, i+1)
	case f.state == parked:
		r.space.parked -= f.body.cost()
	}
}

func (r *Ring) move(f *Frame, s state) {
	r.exit(f)
	r.enter(f, s)
}

// leave takes f out of the ring.
func (r *Ring) leave(f *Frame, fate Fate) {
	if f == r.drill {
		r.drill = nil
	}
	r.exit(f)
	f.state = out
	r.decide(f, fate)
	r.release(&f.body)
}

// decide makes the fate of f known, once.
func (r *Ring) decide(f *Frame, fate Fate) {
	if f.fate != Pending {
		return
	}
	f.fate = fate
	if f.done != nil {
		close(f.done)
	}
}

// lose counts the items of f as lost and takes it out.
func (r *Ring) lose(f *Frame, reason string) {
	c := &r.counts[f.signal]
	c.held -= f.span.items
	c.lost[reason] += f.span.items
	c.lostReason = reason
	r.news.lose(f.signal, reason, f.span.items)
	r.leave(f, Lost)
}

func (r *Ring) release(e *extent) {
	if e.refs--; e.refs == 0 {
		r.space.pool.give(e.pages)
		r.space.side -= e.side
		e.pages, e.side, e.size = nil, 0, 0
	}
}
