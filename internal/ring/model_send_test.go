package ring

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func (m *model) push(t *rapid.T) {
	s := frame.Signal(rapid.IntRange(0, frame.NumSignals-1).Draw(t, "signal")) //nolint:gosec // small
	c := Call{Signal: s, Now: m.now}
	if tenant := rapid.IntRange(0, 2).Draw(t, "tenant"); tenant > 0 {
		c.Key = strings.Repeat("t", tenant)
		c.Meta = map[string][]string{"tenant": {strings.Repeat("t", tenant*3000)}}
	}
	for range rapid.IntRange(1, 3).Draw(t, "pieces") {
		m.bytes++
		size := rapid.IntRange(1, 5*PageSize).Draw(t, "size")
		c.Pieces = append(c.Pieces, Piece{bytes.Repeat([]byte{m.bytes}, size), rapid.Int64Range(1, 9).Draw(t, "items")})
	}
	full, begun, err := m.r.Push(c)
	m.dropped(t, err == nil)
	if err != nil {
		require.Equal(t, m.closed[s], errors.Is(err, ErrClosed))
		require.True(t, m.closed[s] || errors.Is(err, ErrFull) || errors.Is(err, ErrTooLarge))
		return
	}
	require.False(t, m.closed[s])
	want := m.join(&c)
	require.Len(t, full, len(want))
	for i, f := range want {
		f.f = full[i]
		m.frames[f.f] = f
	}
	open := m.open[openKey{s, c.Key}]
	require.Equal(t, begun, open != nil && open.f == nil)
	if begun {
		open.f = m.r.openBy[openKey{s, c.Key}]
		m.frames[open.f] = open
	}
	if rapid.Bool().Draw(t, "seal") {
		for _, f := range want {
			m.sealed(t, f, false)
		}
	}
}

// join does what Push does with the pieces of a call and returns the frames that
// are full.
func (m *model) join(c *Call) (full []*modelFrame) {
	key := openKey{c.Signal, c.Key}
	joins := m.cfg.Join && c.Signal != frame.Profiles
	end := func() {
		m.open[key].state = "sealing"
		full = append(full, m.open[key])
		delete(m.open, key)
	}
	for _, p := range c.Pieces {
		if f := m.open[key]; f != nil && int64(len(f.content)+len(p.Raw)) > m.cfg.MaxFrame {
			end()
		}
		f := m.open[key]
		if f == nil {
			f = &modelFrame{signal: c.Signal, key: c.Key, from: m.now, state: "open"}
			m.open[key] = f
			m.all = append(m.all, f)
		}
		f.content = append(f.content, p.Raw...)
		f.items += p.Items
		m.want[c.Signal].Accepted += p.Items
		if !joins || int64(len(f.content)) >= m.cfg.MaxFrame {
			end()
		}
	}
	return full
}

func (m *model) takeOpen(t *rapid.T) {
	begun := m.now.Add(-time.Duration(rapid.IntRange(0, 2).Draw(t, "age")) * time.Second)
	var oldest *modelFrame
	for _, f := range m.in("open", false) {
		if !f.from.After(begun) && (oldest == nil || f.f.order < oldest.f.order) {
			oldest = f
		}
	}
	f := m.r.TakeOpen(begun)
	if oldest == nil {
		require.Nil(t, f)
		return
	}
	require.Equal(t, oldest.f, f)
	m.taken(oldest)
}

func (m *model) taken(f *modelFrame) {
	f.state = "sealing"
	delete(m.open, openKey{f.signal, f.key})
}

func (m *model) seal(t *rapid.T) {
	m.sealed(t, draw(t, m.in("sealing", false)), rapid.IntRange(0, 9).Draw(t, "fails") == 0)
}

func (m *model) sealed(t *rapid.T, f *modelFrame, fails bool) {
	compress := func(dst io.Writer, raw []byte) error {
		require.Equal(t, f.content, raw)
		if fails {
			_, _ = dst.Write(raw[:len(raw)/2])
			return errors.New("broken")
		}
		return store(dst, raw)
	}
	if f.leased {
		m.r.SealLeased(f.f, compress)
	} else {
		require.Equal(t, !fails && !m.ended, m.r.Seal(f.f, compress))
	}
	switch {
	case fails:
		m.lost(f, "corrupt")
	case m.ended:
		m.lost(f, "shutdown")
	case f.leased:
		f.state = "sending"
	default:
		f.state = "held"
	}
}

func (m *model) lost(f *modelFrame, reason string) {
	m.want[f.signal].Lost[reason] += f.items
	f.state = "out"
}

func (m *model) add(f *Frame, mf *modelFrame) {
	mf.f = f
	m.frames[f] = mf
	m.all = append(m.all, mf)
}

func (m *model) lease(t *rapid.T) {
	w := Wish{Now: m.now, Spread: rapid.IntRange(0, 3).Draw(t, "spread"), Suspects: rapid.Bool().Draw(t, "suspects")}
	open := m.in("open", false)
	if rapid.Bool().Draw(t, "due") {
		w.Begun = m.now
	} else {
		open = nil
	}
	free := m.in("held", false)
	suspectOut := slices.ContainsFunc(m.all, func(f *modelFrame) bool { return f.state == "sending" && f.f.suspect() })
	f, first := m.r.Lease(w)
	if f == nil {
		require.Empty(t, open)
		if w.Suspects && !suspectOut {
			require.Empty(t, free)
		}
		for _, f := range free {
			require.True(t, f.f.suspect(), "only suspects wait")
		}
		return
	}
	mf := m.frames[f]
	require.Equal(t, first, !mf.leased)
	if mf.state == "open" {
		m.leaseOpen(t, w, mf, free, open)
		return
	}
	mf.leased = true
	require.Contains(t, free, mf)
	require.False(t, f.suspect() && (!w.Suspects || suspectOut), "one suspect at a time")
	if w.Spread == 0 && !f.suspect() {
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

// leaseOpen learns that an open frame was leased, and that it was right.
func (m *model) leaseOpen(t *rapid.T, w Wish, f *modelFrame, free, open []*modelFrame) {
	require.Contains(t, open, f)
	for _, other := range open {
		require.GreaterOrEqual(t, other.f.order, f.f.order)
	}
	for _, other := range free {
		switch {
		case w.Spread > 0:
			require.True(t, other.leased, "what was never tried goes first")
		case !m.cfg.NewestFirst:
			require.True(t, other.f.suspect())
		}
	}
	f.leased = true
	m.taken(f)
}

func (m *model) begin(t *rapid.T) {
	f := draw(t, m.in("sending", false))
	v, release, ok := m.r.Begin(f.f, m.now, func() {})
	require.True(t, ok)
	m.reads(t, f, v, release)
}

// borrow begins an attempt with a frame that a flare has.
func (m *model) borrow(t *rapid.T) {
	var can []*modelFrame
	for _, f := range m.in("flaring", false) {
		if f.isHeld() && !f.acked {
			can = append(can, f)
		}
	}
	b, ok := m.r.Borrow(m.now, func() {})
	require.Equal(t, len(can) > 0, ok)
	if !ok {
		return
	}
	f := m.frames[b.Frame]
	require.Contains(t, can, f)
	require.Equal(t, b.First, !f.leased)
	f.leased, f.borrowed = true, true
	m.reads(t, f, b.Value, b.Release)
}

// reads begins an attempt, and a reader that may outlive it.
func (m *model) reads(t *rapid.T, f *modelFrame, v frame.Frame, release func()) {
	f.trying = true
	f.tries++
	require.Equal(t, f.tries, v.Header.Attempt)
	require.Equal(t, f.items, v.Header.Items)
	require.Equal(t, f.content, content(v.Stored))
	want := f.content
	m.late = append(m.late, func() {
		require.Equal(t, want, content(v.Stored), "a page was used again while it was read")
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
	f.trying, f.borrowed = false, false
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
	f.trying, f.borrowed = false, false
	if f.state == "sending" {
		f.state = "held"
	}
}

func (m *model) park(t *rapid.T) {
	f := draw(t, m.trying())
	m.r.Park(f.f)
	f.trying, f.borrowed = false, false
	if f.state == "sending" {
		f.state, f.parked = "parked", true
		m.want[f.signal].Rejected += f.items
	}
}

func (m *model) corrupt(t *rapid.T) {
	f := draw(t, m.trying())
	m.r.Corrupt(f.f)
	f.trying, f.borrowed = false, false
	if f.state == "sending" {
		m.lost(f, "corrupt")
	}
}

func (m *model) split(t *rapid.T) {
	f := draw(t, m.trying())
	if f.items < 2 || len(f.content) < 2 {
		t.Skip("one item")
	}
	half := len(f.content) / 2
	ok := m.r.Divide(f.f, Half{f.content[:half], int64(half), f.items / 2}, Half{f.content[half:], int64(len(f.content) - half), 0})
	m.dropping(t, f)
	if !ok {
		require.Equal(t, "sending", f.state)
		return
	}
	f.trying, f.borrowed = false, false
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
			m.add(q, &modelFrame{signal: f.signal, from: f.from, items: f.items / 2, content: f.content[:half], state: "held"})
		} else {
			m.add(q, &modelFrame{signal: f.signal, from: f.from, items: f.items - f.items/2, content: f.content[half:], state: "held"})
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
