package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// What Accept returns. After ErrFull the call may be tried again, after the
// others it may not.
var (
	ErrFull     = errors.New("the ring is full: the gateway takes less than comes in; raise ring::capacity")
	ErrTooLarge = errors.New("one item is larger than a flare can hold: raise flare::max_size and ring::capacity")
	ErrClosed   = errors.New("the exporter is not running")
)

// Engine delivers what it accepted. All methods may be called concurrently.
type Engine struct {
	s      Settings
	ring   *ring.Ring
	usable int64 // bytes that frames may take
	boot   string
	born   time.Time

	path path      // the way to the gateway
	fb   *fallback // the way to the buckets

	// telling is held from a change of targets until the observer was told: what it is
	// told last of a bucket is so.
	telling sync.Mutex

	life life
	wake chan struct{}  // capacity 1: something changed, decide anew
	jobs sync.WaitGroup // everything the loop started
	loop sync.WaitGroup

	// Owned by the loop.
	phase   phase
	drillAt time.Time // of the next drill; zero: none
}

// New makes an engine of settings that fit each other.
func New(s Settings) (*Engine, error) {
	cfg := ring.Config{
		Agent: s.Agent, Boot: frame.RandomHex(),
		Capacity: s.Ring.Capacity, MaxFrame: s.Frame.MaxSize,
		Join: s.Frame.Linger > 0, DropOldest: !s.Ring.Refuse, NewestFirst: s.NewestFirst,
	}
	if s.Flare != nil {
		cfg.SetAside = s.Flare.MaxSize
		if s.Flare.NewID == nil {
			f := *s.Flare
			f.NewID = frame.RandomHex
			s.Flare = &f
		}
	}
	switch {
	case !frame.ValidAgent(s.Agent):
		return nil, fmt.Errorf("agent: %q must be 1 to %d printable ASCII characters without quotes", s.Agent, frame.MaxAgent)
	case s.Transport == nil || s.Senders < 1:
		return nil, errors.New("senders: must be at least 1")
	case s.Frame.MaxSize < 1 || 2*s.Frame.MaxSize > cfg.Usable():
		return nil, fmt.Errorf("frame::max_size: %d must be at most half of what ring::capacity leaves beside flare::max_size (%d)", s.Frame.MaxSize, cfg.Usable())
	}
	if s.Call == nil {
		s.Call = func(ctx context.Context, _ frame.Signal, _ int64, do func(context.Context) error) error {
			return do(ctx)
		}
	}
	if s.Random == nil {
		s.Random = rand.Float64
	}
	e := &Engine{
		s: s, ring: ring.New(cfg), usable: cfg.Usable(), boot: cfg.Boot, born: time.Now(),
		life: newLife(s.ShutdownTimeout), wake: make(chan struct{}, 1),
	}
	e.path = path{gate: newGate(&e.s), random: s.Random}
	e.fb = newFallback(&e.s, cfg.Usable())
	return e, nil
}

// Start begins to deliver. It needs no gateway, no bucket and no keys that
// work. ctx gives values to later calls; its end ends nothing.
func (e *Engine) Start(ctx context.Context) error {
	if err := e.life.start(ctx); err != nil {
		return err
	}
	if e.s.Flare != nil {
		e.drillAt = firstDrill(time.Now(), e.s.Flare.DrillInterval, e.s.Random())
		e.jobs.Go(e.selfTest)
	}
	e.loop.Go(e.run)
	return nil
}

func (e *Engine) selfTest() {
	sealer, err := e.s.Flare.Sealer()
	if err == nil {
		err = sealer.SelfTest()
	}
	e.observeKeys(err)
}

// Accept takes all pieces or none of them and copies them. Once it returned nil
// the engine answers for every item. meta is client metadata with lower-case
// keys that becomes headers; it is not modified afterwards.
func (e *Engine) Accept(s frame.Signal, meta map[string][]string, pieces []otlpcodec.Piece) error {
	if !e.life.wasStarted() {
		return ErrClosed
	}
	call := ring.Call{Signal: s, Meta: meta, Key: metaKey(meta), Now: time.Now()}
	call.Pieces = make([]ring.Piece, 0, len(pieces))
	for _, p := range pieces {
		if int64(len(p.Raw)) > e.largest() {
			return ErrTooLarge
		}
		if len(p.Raw) > 0 {
			call.Pieces = append(call.Pieces, ring.Piece(p))
		}
	}
	full, begun, err := e.ring.Push(call)
	switch {
	case errors.Is(err, ring.ErrFull):
		e.kick() // what was dropped without success is news
		return ErrFull
	case errors.Is(err, ring.ErrTooLarge):
		return ErrTooLarge
	case err != nil:
		return ErrClosed
	}
	for _, f := range full {
		e.ring.Seal(f, otlpcodec.Compress)
	}
	if begun || len(full) > 0 {
		e.kick()
	}
	return nil
}

// largest returns the most uncompressed bytes of one piece: incompressible, it
// must fit one flare with its padding.
func (e *Engine) largest() int64 {
	if e.s.Flare == nil {
		return e.s.Ring.Capacity / 8
	}
	return max(e.s.Flare.MaxSize*3/4-flareOverhead, 0)
}

// flareOverhead is what a flare of one frame takes beside the frame.
const flareOverhead = 48 << 10

// metaKey returns a text that is equal for equal metadata only.
func metaKey(meta map[string][]string) string {
	if len(meta) == 0 {
		return ""
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(meta)) {
		b.WriteString(strconv.Quote(k))
		for _, v := range meta[k] {
			b.WriteString("," + strconv.Quote(v))
		}
		b.WriteByte(';')
	}
	return b.String()
}

// CloseIntake refuses all later calls of Accept for s.
func (e *Engine) CloseIntake(s frame.Signal) { e.ring.Close(s) }

// Shutdown ends the intake of all signals, sends what the gateway takes, flares
// the rest and counts as lost what neither took. It returns within
// Settings.ShutdownTimeout or with ctx, whichever ends first, and a moment later if
// what it cancels then does not end at once. It may be called several times and
// without Start.
func (e *Engine) Shutdown(ctx context.Context) error {
	for s := range frame.Signal(frame.NumSignals) {
		e.ring.Close(s)
	}
	if !e.life.askEnd() {
		return nil
	}
	e.kick()
	if e.life.await(ctx) {
		return nil
	}
	// A transport or bucket ignores its context. The counts must not wait for it.
	e.ring.LoseAll(string(LostShutdown))
	e.report()
	return errors.New("shut down: a request did not end when it was cancelled")
}

// Snapshot returns the state of the engine at one instant.
func (e *Engine) Snapshot() Snapshot {
	rs := e.ring.Snapshot()
	s := Snapshot{Used: rs.Used, Capacity: e.s.Ring.Capacity, Frames: rs.Frames, Causes: e.path.failures()}
	e.fb.tell(&s)
	if !rs.Oldest.IsZero() {
		s.OldestAge = time.Since(rs.Oldest)
	}
	for i, c := range rs.Signals {
		items := Items{
			Accepted: c.Accepted, Delivered: c.Delivered, Rejected: c.Rejected, Held: c.Held, LateAcks: c.LateAcks,
			Flared: map[flare.Reason]int64{}, Lost: map[LossReason]int64{},
		}
		for reason, n := range c.Flared {
			items.Flared[flare.Reason(reason)] = n
		}
		for reason, n := range c.Lost {
			items.Lost[LossReason(reason)] = n
		}
		s.Signals[i] = items
	}
	return s
}

// kick makes the loop decide anew.
func (e *Engine) kick() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// report tells the observer what the ring lost since the last report.
func (e *Engine) report() {
	news := e.ring.TakeNews()
	if e.s.Observer.Lost != nil {
		for loss, items := range news.Lost {
			e.s.Observer.Lost(loss.Signal, LossReason(loss.Reason), items)
		}
	}
	if e.s.Observer.Dropped != nil {
		for s, items := range news.ParkedDropped {
			if items > 0 {
				e.s.Observer.Dropped(frame.Signal(s), items)
			}
		}
	}
}
