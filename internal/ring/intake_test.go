package ring

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestJoin(t *testing.T) {
	r := testRing(nil)
	require.Empty(t, r.pushed(t, frame.Logs, "", "one,"))
	require.Empty(t, r.pushed(t, frame.Logs, "", "two,"))
	require.Empty(t, r.pushed(t, frame.Logs, "tenant=a", "other tenant"))
	require.Empty(t, r.pushed(t, frame.Traces, "", "other signal"))
	for range 2 {
		full := r.pushed(t, frame.Profiles, "", "alone")
		require.Len(t, full, 1, "profiles are never joined")
		require.Equal(t, int64(5), full[0].span.raw)
	}
	full := r.pushed(t, frame.Logs, "", strings.Repeat("x", 2*PageSize-2))
	require.Len(t, full, 1, "what does not fit seals what was there")
	require.Equal(t, int64(2), full[0].Items())
	var raw []byte
	require.True(t, r.Seal(full[0], func(dst io.Writer, b []byte) error {
		raw = bytes.Clone(b)
		return store(dst, b)
	}))
	require.Equal(t, "one,two,", string(raw))
	require.Len(t, r.pushed(t, frame.Logs, "", "yz"), 1, "a frame of the full size")
	require.NoError(t, r.Check())
}

func TestSealingGivesIdentity(t *testing.T) {
	r := testRing(nil)
	r.pushed(t, frame.Logs, "", "a")
	require.Nil(t, r.TakeOpen(begin.Add(-1)))
	f := r.TakeOpen(begin)
	require.Equal(t, 1, r.View().Sealing)
	lease, _ := r.Lease(Wish{Now: begin, Begun: begin})
	require.Nil(t, lease, "what is being sealed is not leased")
	require.Nil(t, r.Take(everything(Telemetry)))
	require.True(t, r.Seal(f, store))

	r.pushed(t, frame.Logs, "", "b")
	f, first := r.Lease(Wish{Now: begin, Begun: begin})
	require.True(t, first)
	require.Equal(t, uint64(1), f.seq, "what is sealed goes first")
	g, _ := r.Lease(Wish{Now: begin, Begun: begin})
	require.Equal(t, 2, r.View().Leased)
	_, _, ok := r.Begin(g, begin, nil)
	require.False(t, ok, "not sealed yet")
	r.SealLeased(g, store)
	r.SealLeased(g, store)
	require.Equal(t, 2, r.View().Leased)
	v := r.attempted(t, g)
	require.Equal(t, frame.Header{
		Agent: "acme/host-17", Boot: r.cfg.Boot, Seq: 2, From: begin.UnixMilli(), To: begin.UnixMilli(), Items: 1, Attempt: 1,
	}, v.Header)
	require.NoError(t, r.Check())
}

func TestSealFails(t *testing.T) {
	r := testRing(nil)
	for name, compress := range map[string]func(io.Writer, []byte) error{
		"an error":              func(io.Writer, []byte) error { return errors.New("broken") },
		"more than was counted": func(dst io.Writer, _ []byte) error { return store(dst, make([]byte, 3*PageSize)) },
	} {
		r.pushed(t, frame.Logs, "", name)
		require.False(t, r.Seal(r.TakeOpen(begin), compress))
	}
	require.Equal(t, map[string]int64{"corrupt": 2}, r.Snapshot().Signals[frame.Logs].Lost)
	require.Zero(t, r.Snapshot().Used)
	require.Equal(t, map[Loss]int64{{frame.Logs, "corrupt"}: 2}, r.TakeNews().Lost)
	require.Empty(t, r.TakeNews().Lost)
}

func TestAllOrNothing(t *testing.T) {
	r := testRing(func(c *Config) { c.DropOldest = false })
	big := Piece{make([]byte, 15*PageSize), 1}
	full, _, err := r.Push(Call{Signal: frame.Logs, Pieces: []Piece{big, big, big}})
	require.NoError(t, err)
	for _, f := range full {
		require.True(t, r.Seal(f, store))
	}
	require.Len(t, full, 3)
	require.Equal(t, 3, r.Snapshot().Frames)
	_, _, err = r.Push(Call{Signal: frame.Logs, Pieces: []Piece{{[]byte("small"), 1}, big}})
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, int64(3), r.Snapshot().Signals[frame.Logs].Accepted)
	_, _, err = r.Push(Call{Signal: frame.Logs, Pieces: []Piece{big, big, big, big}})
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, r.Check())
}

func TestEnd(t *testing.T) {
	r := testRing(nil)
	r.pushed(t, frame.Logs, "", "being sealed")
	f := r.TakeOpen(begin)
	r.pushed(t, frame.Logs, "", "open")
	require.Equal(t, 2, r.Snapshot().Frames)
	r.LoseAll("shutdown")
	require.Equal(t, int64(1), r.Snapshot().Signals[frame.Logs].Held)
	require.False(t, r.Seal(f, store))
	require.Equal(t, map[string]int64{"shutdown": 2}, r.Snapshot().Signals[frame.Logs].Lost)
	_, _, err := r.Push(Call{Signal: frame.Traces})
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, r.Snapshot().Used)
	require.Zero(t, r.Snapshot().Frames)
	require.NoError(t, r.Check())
}
