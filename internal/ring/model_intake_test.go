package ring

import (
	"bytes"
	"errors"
	"io"
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
	m.sealed(t, m.draw(t, m.in("sealing", false)), rapid.IntRange(0, 9).Draw(t, "fails") == 0)
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
