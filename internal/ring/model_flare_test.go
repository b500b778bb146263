package ring

import (
	"bytes"
	"io"
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// drill adds one, which has no part in any of what is counted.
func (m *model) drill(t *rapid.T) {
	data := []byte("a drill")
	has := slices.ContainsFunc(m.all, func(f *modelFrame) bool { return f.kind == Drill && f.state != "out" })
	if !m.r.AddDrill(data, 7, m.now) {
		require.True(t, has || m.ended || m.r.short(1) > 0)
		return
	}
	require.False(t, has, "one at a time")
	m.add(m.r.drill, &modelFrame{signal: frame.Logs, from: m.now, items: 1, content: data, state: "drilling", kind: Drill})
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
		m.notNow(t)
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
		require.Equal(t, f.tries+1, values[i].Header.Attempt)
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
	unknown := rapid.Bool().Draw(t, "unknown")
	m.r.GiveUp(fl.fl, unknown)
	m.done(fl)
	for _, f := range fl.frames {
		switch {
		case fl.kind != Telemetry && m.ended:
			f.state = "out"
		case fl.kind == Parked:
			f.state = "parked"
		case fl.kind == Drill:
			f.state = "drilling"
		case f.acked:
			m.delivered(f, f.rejected)
		case m.ended:
			m.lost(f, "shutdown")
		default:
			f.state = "held"
			if unknown {
				f.tries++
			}
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
			m.lost(f, "flare_unknown")
		}
	}
}

func (m *model) blob(t *rapid.T) {
	if len(m.blobs) > 0 && rapid.Bool().Draw(t, "free") {
		client := frame.Lend(m.blobs[0].Body())
		_, err := client.Reader().Read(make([]byte, 1))
		require.NoError(t, err)
		m.blobs[0].Free()
		_, err = client.Reader().Read(make([]byte, 1))
		require.ErrorIs(t, err, frame.ErrLoanEnded)
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
