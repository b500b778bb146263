package ring

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

var begin = time.Date(2026, 9, 21, 6, 31, 0, 0, time.UTC)

// testRing has 64 pages, 8 of them set aside for flares.
func testRing(change func(*Config)) *Ring {
	cfg := Config{
		Agent: "acme/host-17", Boot: frame.RandomHex(), Capacity: 64 * PageSize, SetAside: 8 * PageSize,
		MaxFrame: 2 * PageSize, Join: true, DropOldest: true,
	}
	if change != nil {
		change(&cfg)
	}
	return New(cfg)
}

// pushed takes a call of one item, and returns what became full.
func (r *Ring) pushed(t *testing.T, s frame.Signal, key, raw string) []*Frame {
	t.Helper()
	full, _, err := r.Push(Call{Signal: s, Key: key, Pieces: []Piece{{[]byte(raw), 1}}, Now: begin})
	require.NoError(t, err)
	return full
}

// sealed takes a call of one item, as a frame of its own that is sealed.
func (r *Ring) sealed(t *testing.T, s frame.Signal, raw string) *Frame {
	t.Helper()
	f := r.pushed(t, s, "", raw)[0]
	require.True(t, r.Seal(f, store))
	return f
}

// attempted begins an attempt with f, and reads its body at once.
func (r *Ring) attempted(t *testing.T, f *Frame) frame.Frame {
	t.Helper()
	v, release, ok := r.Begin(f, begin, nil)
	require.True(t, ok)
	release()
	return v
}

// returned begins and ends an attempt whose body is read until the result is called.
func (r *Ring) returned(t *testing.T, f *Frame) (release func()) {
	t.Helper()
	_, release, ok := r.Begin(f, begin, nil)
	require.True(t, ok)
	r.Return(f)
	return release
}

// everything wishes for a flare of all there is of a kind.
func everything(k Kind) FlareWish {
	return FlareWish{Kind: k, Fits: func(int, int64, int64) bool { return true }}
}
