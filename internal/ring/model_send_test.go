package ring

import (
	"bytes"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

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
	f := m.draw(t, m.in("sending", false))
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
	f := m.draw(t, m.trying())
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
	f := m.draw(t, m.trying())
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
	f := m.draw(t, m.trying())
	m.r.Park(f.f)
	f.trying, f.borrowed = false, false
	if f.state == "sending" {
		f.state, f.kind = "parked", Parked
		m.want[f.signal].Rejected += f.items
	}
}

func (m *model) corrupt(t *rapid.T) {
	f := m.draw(t, m.trying())
	m.r.Corrupt(f.f)
	f.trying, f.borrowed = false, false
	if f.state == "sending" {
		m.lost(f, "corrupt")
	}
}

func (m *model) split(t *rapid.T) {
	f := m.draw(t, m.trying())
	if f.items < 2 || len(f.content) < 2 {
		m.notNow(t)
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
