package ring

import (
	"bytes"
	"fmt"
	"io"
	"slices"
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
	flares []*modelFlare
	blobs  []*Blob
	late   []func() // bodies that are still read
	want   [frame.NumSignals]Items
	bytes  byte
}

type modelFrame struct {
	f        *Frame
	signal   frame.Signal
	items    int64
	content  []byte
	state    string // sealing, held, sending, flaring, parked, drilling, out
	trying   bool
	acked    bool
	rejected int64
	parked   bool
	drill    bool
	leased   bool // before
}

type modelFlare struct {
	fl     *Flare
	frames []*modelFrame
	fixed  bool
	kind   Kind
}

func store(dst io.Writer, raw []byte) error { _, err := dst.Write(raw); return err }

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{
			Agent: "a", Boot: frame.RandomHex(), Capacity: 48 * PageSize, SetAside: 8 * PageSize,
			MaxFrame: 2 * PageSize, DropOldest: rapid.Bool().Draw(t, "drop"), NewestFirst: rapid.Bool().Draw(t, "newest"),
		}
		m := &model{r: New(cfg), cfg: cfg, now: time.Unix(1e9, 0), frames: map[*Frame]*modelFrame{}}
		for i := range m.want {
			m.want[i].Flared, m.want[i].Lost = map[string]int64{}, map[string]int64{}
		}
		t.Repeat(map[string]func(*rapid.T){
			"push": m.push, "lease": m.lease, "begin": m.begin, "ack": m.ack, "nack": m.nack, "park": m.park,
			"split": m.split, "corrupt": m.corrupt, "take": m.take, "fix": m.fix, "stored": m.stored, "give up": m.giveUp,
			"lose": m.lose, "drill": m.drill, "blob": m.blob, "release": m.release, "tick": func(*rapid.T) { m.now = m.now.Add(time.Second) },
			"": m.check,
		})
		m.end(t)
	})
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

func draw(t *rapid.T, from []*modelFrame) *modelFrame {
	if len(from) == 0 {
		t.Skip("no such frame")
	}
	return rapid.SampledFrom(from).Draw(t, "frame")
}

func (m *model) push(t *rapid.T) {
	s := frame.Signal(rapid.IntRange(0, frame.NumSignals-1).Draw(t, "signal")) //nolint:gosec // small
	items := rapid.Int64Range(1, 9).Draw(t, "items")
	size := rapid.IntRange(int(items), 3*PageSize).Draw(t, "size")
	m.bytes++
	raw := bytes.Repeat([]byte{m.bytes}, size)
	full, _, err := m.r.Push(Call{Signal: s, Pieces: []Piece{{raw, items}}, Now: m.now})
	m.dropped(t, true)
	if err != nil {
		require.ErrorIs(t, err, ErrFull)
		return
	}
	require.Len(t, full, 1)
	m.want[s].Accepted += items
	require.True(t, m.r.Seal(full[0], store))
	m.add(full[0], &modelFrame{signal: s, items: items, content: raw, state: "held"})
}

func (m *model) add(f *Frame, mf *modelFrame) {
	mf.f = f
	m.frames[f] = mf
	m.all = append(m.all, mf)
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
				m.want[f.signal].Lost["ring_full"] += f.items
			case "parked", "drilling":
			default:
				require.Fail(t, "dropped", "a frame in state %s", f.state)
			}
			f.state = "out"
		}
	}
}

func (m *model) lease(t *rapid.T) {
	spread := rapid.IntRange(0, 3).Draw(t, "spread")
	suspects := rapid.Bool().Draw(t, "suspects")
	f, first := m.r.Lease(Wish{Now: m.now, Spread: spread, Suspects: suspects})
	free := m.in("held", false)
	if f == nil {
		if suspects && !slices.ContainsFunc(m.all, func(f *modelFrame) bool { return f.state == "sending" && f.f.suspect() }) {
			require.Empty(t, free)
		}
		for _, f := range free {
			require.True(t, f.f.suspect(), "only suspects wait")
		}
		return
	}
	mf := m.frames[f]
	require.Contains(t, free, mf)
	require.Equal(t, first, !mf.leased)
	mf.leased = true
	if spread == 0 && !f.suspect() {
		for _, other := range free {
			if !other.f.suspect() && m.cfg.NewestFirst {
				require.LessOrEqual(t, other.f.order, f.order)
			} else if !other.f.suspect() {
				require.GreaterOrEqual(t, other.f.order, f.order)
			}
		}
	}
	mf.state = "sending"
}

func (m *model) begin(t *rapid.T) {
	f := draw(t, m.in("sending", false))
	v, release, ok := m.r.Begin(f.f, m.now, func() {})
	require.True(t, ok)
	f.trying = true
	require.Equal(t, f.content, content(v.Stored))
	require.Equal(t, f.items, v.Header.Items)
	m.late = append(m.late, func() {
		require.Equal(t, f.content, content(v.Stored), "a page was used again while it was read")
		release()
	})
}

func content(b frame.Body) []byte {
	var buf bytes.Buffer
	_, _ = b.WriteTo(&buf)
	return buf.Bytes()
}

func (m *model) trying() []*modelFrame {
	var got []*modelFrame
	for _, s := range []string{"sending", "held", "flaring", "out"} {
		got = append(got, m.in(s, true)...)
	}
	return got
}

func (m *model) ack(t *rapid.T) {
	f := draw(t, m.trying())
	rejected := rapid.Int64Range(0, f.items).Draw(t, "rejected")
	m.r.Ack(f.f, rejected)
	f.trying = false
	switch f.state {
	case "sending", "held":
		m.delivered(f, rejected)
	case "flaring":
		f.acked, f.rejected = true, rejected
	case "out":
		m.want[f.signal].LateAcks += f.items
	}
}

func (m *model) delivered(f *modelFrame, rejected int64) {
	m.want[f.signal].Delivered += f.items - rejected
	m.want[f.signal].Rejected += rejected
	f.state = "out"
}

func (m *model) nack(t *rapid.T) {
	f := draw(t, m.trying())
	if rapid.Bool().Draw(t, "return") {
		m.r.Return(f.f)
	} else {
		m.r.Nack(f.f)
	}
	f.trying = false
	if f.state == "sending" {
		f.state = "held"
	}
}

func (m *model) park(t *rapid.T) {
	f := draw(t, m.trying())
	m.r.Park(f.f)
	f.trying = false
	if f.state == "sending" {
		f.state, f.parked = "parked", true
		m.want[f.signal].Rejected += f.items
	}
}

func (m *model) corrupt(t *rapid.T) {
	f := draw(t, m.trying())
	m.r.Corrupt(f.f)
	f.trying = false
	if f.state == "sending" {
		f.state = "out"
		m.want[f.signal].Lost["corrupt"] += f.items
	}
}

func (m *model) split(t *rapid.T) {
	f := draw(t, m.trying())
	if f.items < 2 {
		t.Skip("one item")
	}
	half := len(f.content) / 2
	ok := m.r.Divide(f.f, Half{f.content[:half], int64(half), f.items / 2}, Half{f.content[half:], int64(len(f.content) - half), 0})
	m.dropping(t, f)
	if !ok {
		require.Equal(t, "sending", f.state)
		return
	}
	f.trying = false
	if f.state != "sending" {
		return
	}
	f.state = "out"
	before := len(m.all)
	for q := m.r.queues[held].first; q != nil; q = q.node.next {
		if m.frames[q] != nil {
			continue
		}
		left := q.id[len(q.id)-1] == '0'
		require.Equal(t, f.f.id, q.id[:len(q.id)-2])
		require.Equal(t, f.f.seq, q.seq)
		if left {
			m.add(q, &modelFrame{signal: f.signal, items: f.items / 2, content: f.content[:half], state: "held"})
		} else {
			m.add(q, &modelFrame{signal: f.signal, items: f.items - f.items/2, content: f.content[half:], state: "held"})
		}
	}
	require.Len(t, m.all, before+2)
}

// dropping is dropped, but for the frame that is split.
func (m *model) dropping(t *rapid.T, f *modelFrame) {
	was := f.state
	f.state = "out"
	m.dropped(t, true)
	f.state = was
}

// drill adds one, which has no part in any of what is counted.
func (m *model) drill(t *rapid.T) {
	data := []byte("a drill")
	has := slices.ContainsFunc(m.all, func(f *modelFrame) bool { return f.drill && f.state != "out" })
	if !m.r.AddDrill(data, 7, m.now) {
		require.True(t, has || m.r.framePages()*PageSize == m.cfg.Usable() || len(m.blobs) > 0)
		return
	}
	require.False(t, has, "one at a time")
	m.add(m.r.drill, &modelFrame{signal: frame.Logs, items: 1, content: data, state: "drilling", drill: true})
}

func (m *model) take(t *rapid.T) {
	kind := Kind(rapid.IntRange(0, 2).Draw(t, "kind")) //nolint:gosec // small
	most := rapid.IntRange(1, 5).Draw(t, "most")
	fl := m.r.Take(FlareWish{Kind: kind, Fits: func(n int, _, _ int64) bool { return n <= most }})
	var can []*modelFrame
	for _, f := range m.all {
		if slices.Contains([][]string{{"held", "sending"}, {"parked"}, {"drilling"}}[kind], f.state) {
			can = append(can, f)
		}
	}
	if fl == nil {
		require.Empty(t, can)
		return
	}
	require.Len(t, fl.frames, min(most, len(can)))
	mfl := &modelFlare{fl: fl, kind: kind}
	youngest := fl.frames[len(fl.frames)-1].order
	for _, f := range fl.frames {
		mfl.frames = append(mfl.frames, m.frames[f])
		m.frames[f].state = "flaring"
	}
	for _, f := range can {
		if f.state != "flaring" {
			require.GreaterOrEqual(t, f.f.order, youngest, "the oldest go first")
		}
	}
	m.flares = append(m.flares, mfl)
}

func (m *model) drawFlare(t *rapid.T, fixed bool) *modelFlare {
	var got []*modelFlare
	for _, fl := range m.flares {
		if fl.fixed == fixed {
			got = append(got, fl)
		}
	}
	if len(got) == 0 {
		t.Skip("no such flare")
	}
	return rapid.SampledFrom(got).Draw(t, "flare")
}

func (m *model) fix(t *rapid.T) {
	fl := m.drawFlare(t, false)
	fl.fixed = true
	values := m.r.Fix(fl.fl)
	var kept []*modelFrame
	for _, f := range fl.frames {
		if f.acked {
			m.delivered(f, f.rejected)
			continue
		}
		kept = append(kept, f)
	}
	fl.frames = kept
	require.Len(t, values, len(kept))
	for i, f := range kept {
		require.Equal(t, f.content, content(values[i].Stored))
	}
}

func (m *model) done(fl *modelFlare) {
	for i, other := range m.flares {
		if other == fl {
			m.flares = append(m.flares[:i:i], m.flares[i+1:]...)
		}
	}
}

func (m *model) stored(t *rapid.T) {
	fl := m.drawFlare(t, true)
	m.r.Stored(fl.fl, "expired")
	m.done(fl)
	for _, f := range fl.frames {
		f.state = "out"
		if fl.kind != Telemetry {
			continue
		}
		m.want[f.signal].Flared["expired"] += f.items
		if f.acked {
			m.want[f.signal].LateAcks += f.items
		}
	}
}

func (m *model) giveUp(t *rapid.T) {
	fl := m.drawFlare(t, rapid.Bool().Draw(t, "fixed"))
	m.r.GiveUp(fl.fl, rapid.Bool().Draw(t, "unknown"))
	m.done(fl)
	for _, f := range fl.frames {
		switch {
		case fl.kind == Parked:
			f.state = "parked"
		case fl.kind == Drill:
			f.state = "drilling"
		case f.acked:
			m.delivered(f, f.rejected)
		default:
			f.state = "held"
		}
	}
}

func (m *model) lose(t *rapid.T) {
	fl := m.drawFlare(t, true)
	m.r.Lose(fl.fl, "flare_unknown")
	m.done(fl)
	for _, f := range fl.frames {
		switch {
		case fl.kind != Telemetry:
			f.state = "out"
		case f.acked:
			m.delivered(f, f.rejected)
		default:
			m.want[f.signal].Lost["flare_unknown"] += f.items
			f.state = "out"
		}
	}
}

func (m *model) blob(t *rapid.T) {
	if len(m.blobs) > 0 && rapid.Bool().Draw(t, "free") {
		m.blobs[0].Free()
		m.blobs = m.blobs[1:]
		return
	}
	size := rapid.Int64Range(1, 8*PageSize).Draw(t, "size")
	b := m.r.NewBlob(size)
	if b == nil {
		require.NotEmpty(t, m.blobs, "there is always room for what is set aside")
		return
	}
	data := bytes.Repeat([]byte{0xbb}, int(size))
	_, err := io.Copy(b, iotestReader{bytes.NewReader(data)})
	require.NoError(t, err)
	_, err = b.Write(make([]byte, PageSize))
	require.Error(t, err, "not beyond the bound")
	b.Close()
	require.Equal(t, data, content(b.Body()))
	m.blobs = append(m.blobs, b)
}

// iotestReader gives small pieces.
type iotestReader struct{ r io.Reader }

func (i iotestReader) Read(p []byte) (int, error) { return i.r.Read(p[:min(len(p), 1000)]) }

func (m *model) release(t *rapid.T) {
	if len(m.late) == 0 {
		t.Skip("nobody reads")
	}
	m.late[0]()
	m.late = m.late[1:]
}

func (m *model) check(t *rapid.T) {
	require.NoError(t, m.r.Check())
	m.dropped(t, false)
	for i := range m.want {
		m.want[i].Held = 0
	}
	for _, f := range m.all {
		if f.state == "held" || f.state == "sending" || f.state == "flaring" && !f.parked && !f.drill {
			m.want[f.signal].Held += f.items
		}
	}
	require.Equal(t, m.want, m.r.Snapshot().Signals)
}

// end shuts the ring down and finds that nothing is left.
func (m *model) end(t *rapid.T) {
	for _, fl := range m.flares {
		m.r.Lose(fl.fl, "flare_unknown")
	}
	m.r.LoseAll("shutdown")
	for _, f := range m.all {
		if f.trying {
			m.r.Return(f.f)
		}
	}
	for _, done := range m.late {
		done()
	}
	for _, b := range m.blobs {
		b.Free()
	}
	require.NoError(t, m.r.Check())
	s := m.r.Snapshot()
	require.Zero(t, s.Used)
	for i, c := range s.Signals {
		require.Zero(t, c.Held, fmt.Sprint(i))
	}
}
