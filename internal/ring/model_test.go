package ring

import (
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// model is the ring as one would describe it: a list of frames with a state
// each. It knows nothing of pages, queues or locks, and takes from the ring
// only which frames were dropped for room.
type model struct {
	r      *Ring
	cfg    Config
	now    time.Time
	frames map[*Frame]*modelFrame
	all    []*modelFrame
	open   map[openKey]*modelFrame
	flares []*modelFlare
	blobs  []*Blob
	late   []func() // bodies that are still read
	want   [frame.NumSignals]Items
	closed [frame.NumSignals]bool
	ended  bool
	reason string // why frames are dropped
	bytes  byte
	idle   int // actions in a row that could not be
}

type modelFrame struct {
	f        *Frame
	signal   frame.Signal
	key      string
	from     time.Time
	items    int64
	content  []byte
	state    string // open, sealing, held, sending, flaring, parked, drilling, out
	tries    int64
	trying   bool
	borrowed bool
	acked    bool
	rejected int64
	kind     Kind // of the flare that takes it
	leased   bool // before
}

type modelFlare struct {
	fl     *Flare
	frames []*modelFrame
	fixed  bool
	kind   Kind
}

func store(dst io.Writer, raw []byte) error { _, err := dst.Write(raw); return err }

func TestModel(t *testing.T) { rapid.Check(t, story) }

// FuzzRing tells the story that the bytes say.
func FuzzRing(f *testing.F) {
	for seed := range byte(4) {
		b := make([]byte, 16<<10)
		_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
		f.Add(b)
	}
	f.Fuzz(rapid.MakeFuzz(story))
}

// story does things to a ring and to the model, and compares them after each.
func story(t *rapid.T) {
	cfg := Config{
		Agent: "a", Boot: frame.RandomHex(), Capacity: rapid.SampledFrom([]int64{48, 200}).Draw(t, "capacity") * PageSize, SetAside: 8 * PageSize,
		MaxFrame: 4 * PageSize, Join: rapid.Bool().Draw(t, "join"),
		DropOldest: rapid.Bool().Draw(t, "drop"), NewestFirst: rapid.Bool().Draw(t, "newest"),
	}
	m := &model{
		r: New(cfg), cfg: cfg, now: time.Unix(1e9, 0), frames: map[*Frame]*modelFrame{}, open: map[openKey]*modelFrame{}, reason: "ring_full",
	}
	for i := range m.want {
		m.want[i].Flared, m.want[i].Lost = map[string]int64{}, map[string]int64{}
	}
	t.Repeat(map[string]func(*rapid.T){
		"push": m.push, "seal": m.seal, "take open": m.takeOpen, "lease": m.lease, "begin": m.begin, "borrow": m.borrow,
		"ack": m.ack, "nack": m.nack, "park": m.park, "split": m.split, "corrupt": m.corrupt,
		"take": m.take, "fix": m.fix, "stored": m.stored, "give up": m.giveUp, "lose": m.lose, "drill": m.drill,
		"blob": m.blob, "release": m.release, "close": m.close, "lose all": m.loseAll,
		"tick": m.tick, "": m.check,
	})
	m.end(t)
}

func (m *model) tick(t *rapid.T) {
	m.now = m.now.Add(time.Second)
	m.reason = rapid.SampledFrom([]string{"ring_full", "budget"}).Draw(t, "reason")
	m.r.DropReason(m.reason)
}

// close and loseAll end most of a story, and so are rare.
func (m *model) close(t *rapid.T) {
	if rapid.IntRange(0, 15).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	s := frame.Signal(rapid.IntRange(0, frame.NumSignals-1).Draw(t, "signal")) //nolint:gosec // small
	m.r.Close(s)
	m.closed[s] = true
}

func (m *model) loseAll(t *rapid.T) {
	if rapid.IntRange(0, 15).Draw(t, "rarely") > 0 {
		t.Skip("not now")
	}
	m.lostAll()
}

func (m *model) lostAll() {
	m.r.LoseAll("shutdown")
	m.ended = true
	for s := range m.closed {
		m.closed[s] = true
	}
	clear(m.open)
	for _, f := range m.all {
		switch f.state {
		case "open", "held", "sending":
			m.want[f.signal].Lost["shutdown"] += f.items
			f.state = "out"
		case "parked", "drilling":
			f.state = "out"
		}
	}
}

func (m *model) in(state string, trying bool) []*modelFrame {
	var got []*modelFrame
	for _, f := range m.all {
		if f.state == state && f.trying == trying {
			got = append(got, f)
		}
	}
	return got
}

func (m *model) draw(t *rapid.T, from []*modelFrame) *modelFrame {
	if len(from) == 0 {
		m.notNow(t)
	}
	return rapid.SampledFrom(from).Draw(t, "frame")
}

// notNow ends an action that cannot be: another one is drawn. A story that a fuzzer
// made may name nothing else for ever, which rapid calls a failure, unless the last
// of these actions has drawn something: then it is no story.
func (m *model) notNow(t *rapid.T) {
	if m.idle++; m.idle >= 50 {
		rapid.Bool().Draw(t, "nothing can be")
	}
	t.Skip("not now")
}

// dropped learns which frames were dropped for room, and that it was right.
func (m *model) dropped(t *rapid.T, may bool) {
	for _, f := range m.all {
		if f.state != "out" && f.f.state == out {
			require.True(t, may, "a frame is gone")
			require.False(t, f.trying)
			switch f.state {
			case "held":
				require.True(t, m.cfg.DropOldest)
				m.want[f.signal].Lost[m.reason] += f.items
			case "parked", "drilling":
			default:
				require.Fail(t, "dropped", "a frame in state %s", f.state)
			}
			f.state = "out"
		}
	}
}

func (m *model) release(t *rapid.T) {
	if len(m.late) == 0 {
		m.notNow(t)
	}
	m.late[0]()
	m.late = m.late[1:]
}

// isHeld reports whether the items of f count as held.
func (f *modelFrame) isHeld() bool {
	switch f.state {
	case "open", "sealing", "held", "sending":
		return true
	}
	return f.state == "flaring" && f.kind == Telemetry
}

func (m *model) check(t *rapid.T) {
	m.idle = 0
	require.NoError(t, m.r.Check())
	m.dropped(t, false)
	for i := range m.want {
		m.want[i].Held = 0
	}
	var v View
	for _, f := range m.all {
		if f.isHeld() {
			m.want[f.signal].Held += f.items
		}
		m.see(&v, f)
		if f.leased {
			require.Equal(t, f.state == "out" || f.kind == Parked, closed(f.f.Done()), "its fate is known in time")
		}
	}
	require.Equal(t, m.want, m.r.Snapshot().Signals)
	got := m.r.View()
	require.Equal(t, v.Parked > 0, m.r.ParkedBytes() > 0)
	v.Frames = got.Frames
	require.Equal(t, v, got)
}

// see adds f to what the ring shows.
func (m *model) see(v *View, f *modelFrame) {
	earliest := func(at *time.Time) {
		if at.IsZero() || f.from.Before(*at) {
			*at = f.from
		}
	}
	switch f.state {
	case "open":
		earliest(&v.Open)
	case "sealing":
		v.Sealing++
		if f.leased {
			v.Leased++
		}
	case "held":
		v.Held++
	case "sending":
		v.Leased++
	case "flaring":
		if f.kind != Drill {
			v.Flaring++
		}
	case "parked":
		v.Parked++
	case "drilling":
		v.Drill = f.from
	}
	if f.state == "held" || f.state == "sending" {
		v.Takable++
		earliest(&v.Oldest)
	}
	if f.borrowed {
		v.Leased++
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// end shuts the ring down, in any order, and finds that nothing is left.
func (m *model) end(t *rapid.T) {
	todo := []func(){m.lostAll}
	for _, fl := range m.flares {
		if fl.fixed {
			todo = append(todo, func() { m.r.Lose(fl.fl, "flare_unknown") })
		} else {
			todo = append(todo, func() { m.r.GiveUp(fl.fl, false) })
		}
	}
	for _, f := range m.all {
		if f.trying {
			todo = append(todo, func() { m.r.Return(f.f) })
		}
		if f.state == "sealing" {
			todo = append(todo, func() { m.r.SealLeased(f.f, store) })
		}
	}
	for _, b := range m.blobs {
		todo = append(todo, b.Free)
	}
	for _, do := range rapid.Permutation(append(todo, m.late...)).Draw(t, "order") {
		do()
		require.NoError(t, m.r.Check())
	}
	m.r.LoseAll("shutdown") // a flare may have given frames back, an attempt, too, a seal
	s := m.r.Snapshot()
	require.Zero(t, s.Used)
	require.Zero(t, m.r.space.pool.chunks)
	for i, c := range s.Signals {
		require.Zero(t, c.Held, fmt.Sprint(i))
	}
}
