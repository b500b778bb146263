package ring

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// TestDropSparesWhatIsPinned fills the ring: parked frames go first, then the
// oldest held one; never a frame that a flare or a reader has.
func TestDropSparesWhatIsPinned(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	var frames []*Frame
	add := func() {
		frames = append(frames, r.sealed(t, frame.Logs, strings.Repeat("x", 9*PageSize)))
	}
	for range 6 {
		add()
	}
	fl := r.Take(FlareWish{Fits: func(n int, _, _ int64) bool { return n <= 1 }}) // the first
	f, _ := r.Lease(Wish{Now: begin})                                             // the second: nacked and still read
	_, release, _ := r.Begin(f, begin, nil)
	r.Nack(f)
	_, _ = r.Lease(Wish{Now: begin, Spread: 1}) // somebody has it
	states := func() (got []state) {
		for _, f := range frames {
			got = append(got, f.state)
		}
		return got
	}
	require.Equal(t, []state{flaring, sending, held, held, held, held}, states())
	add()
	require.Equal(t, []state{flaring, sending, out, held, held, held, held}, states())
	again := r.returned(t, f)
	add()
	require.Equal(t, []state{flaring, held, out, out, held, held, held, held}, states(), "somebody reads the second")
	release()
	again()

	third, _ := r.Lease(Wish{Now: begin})
	require.Equal(t, frames[1], third)
	r.attempted(t, third)
	r.Park(third)
	add()
	require.Equal(t, []state{flaring, out, out, out, held, held, held, held, held}, states(), "what is parked goes first")
	require.Equal(t, int64(1), r.TakeNews().ParkedDropped[frame.Logs])
	require.Equal(t, int64(2), r.Snapshot().Signals[frame.Logs].Lost["ring_full"])
	r.Fix(fl)
	r.Stored(fl, "expired")
	require.NoError(t, r.Check())
}

// A call that does not fit all the same must not cost others their data.
func TestNothingIsDroppedForACallThatDoesNotFit(t *testing.T) {
	r := testRing(nil)
	for i := range 30 {
		r.pushed(t, frame.Logs, fmt.Sprint(i), "open, cannot be dropped")
	}
	for range 15 {
		r.sealed(t, frame.Profiles, "held")
	}
	_, _, err := r.Push(Call{Signal: frame.Logs, Key: "big", Pieces: []Piece{{[]byte(strings.Repeat("y", 40*PageSize)), 1}}, Now: begin})
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, 15, r.View().Held)
	require.Empty(t, r.Snapshot().Signals[frame.Profiles].Lost)
}

// TestAFullRingDivides has no room left but that of the frame itself: its halves
// take it. Nothing else is lost for them, and no full ring stays full because the
// gateway takes its frames in parts only.
func TestAFullRingDivides(t *testing.T) {
	for _, drop := range []bool{true, false} {
		r := testRing(func(c *Config) { c.Join, c.DropOldest = false, drop })
		raw := strings.Repeat("x", 3*PageSize-100)
		for r.short(pagesFor(sealedBound(int64(len(raw))))+1) <= 0 {
			r.sealed(t, frame.Logs, raw)
		}
		require.Positive(t, r.short(4), "two halves do not fit beside the frame")
		f, _ := r.Lease(Wish{Now: begin})
		r.attempted(t, f)
		half := Half{Stored: []byte(raw[:len(raw)/2]), Raw: int64(len(raw) / 2), Items: 1}
		require.True(t, r.Divide(f, half, half))
		require.NoError(t, r.Check())
		require.Empty(t, r.Snapshot().Signals[frame.Logs].Lost)
	}
}

// TestBlobsStayWithinTheCapacity reserves what is set aside, and what else is free.
func TestBlobsStayWithinTheCapacity(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	r.sealed(t, frame.Logs, strings.Repeat("x", 43*PageSize))
	var blobs []*Blob
	for b := r.NewBlob(5 * PageSize); b != nil; b = r.NewBlob(5 * PageSize) {
		blobs = append(blobs, b)
		require.NoError(t, r.Check())
	}
	require.Len(t, blobs, 4, "21 pages are free")
	r.pushed(t, frame.Logs, "", "x") // drops the other
	require.Equal(t, int64(1), r.Snapshot().Signals[frame.Logs].Lost["ring_full"])
	for _, b := range blobs {
		b.Close()
		b.Free()
	}
	require.Equal(t, blobPages{}, r.space.blobs)
	require.NoError(t, r.Check())
}

func TestIdleRingKeepsLittle(t *testing.T) {
	const frames = 20 * chunkPages
	r := testRing(func(c *Config) { c.Join, c.Capacity = false, 2*frames*PageSize })
	for range frames {
		r.sealed(t, frame.Logs, "x")
	}
	require.Greater(t, r.space.pool.chunks, spareChunks)
	for range frames {
		f, _ := r.Lease(Wish{Now: begin})
		r.attempted(t, f)
		r.Ack(f, 0)
	}
	require.Equal(t, spareChunks, r.space.pool.chunks)
	require.Zero(t, r.Snapshot().Used)
	require.NoError(t, r.Check())
	r.LoseAll("shutdown")
	require.Zero(t, r.space.pool.chunks)
}
