package ring

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

var begin = time.Date(2026, 9, 21, 6, 31, 0, 0, time.UTC)

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

func (r *Ring) pushed(t *testing.T, s frame.Signal, key, raw string) []*Frame {
	t.Helper()
	full, _, err := r.Push(Call{Signal: s, Key: key, Pieces: []Piece{{[]byte(raw), 1}}, Now: begin})
	require.NoError(t, err)
	return full
}

func TestJoin(t *testing.T) {
	r := testRing(nil)
	require.Empty(t, r.pushed(t, frame.Logs, "", "one,"))
	require.Empty(t, r.pushed(t, frame.Logs, "", "two,"))
	require.Empty(t, r.pushed(t, frame.Logs, "tenant=a", "other tenant"))
	require.Empty(t, r.pushed(t, frame.Traces, "", "other signal"))
	for range 2 {
		full := r.pushed(t, frame.Profiles, "", "alone")
		require.Len(t, full, 1, "profiles are never joined")
		require.Equal(t, int64(5), full[0].raw)
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
	require.Nil(t, r.Take(FlareWish{Fits: func(int, int64, int64) bool { return true }}))
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
	v, release, ok := r.Begin(g, begin, nil)
	require.True(t, ok)
	release()
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

func TestEnd(t *testing.T) {
	r := testRing(nil)
	r.pushed(t, frame.Logs, "", "being sealed")
	f := r.TakeOpen(begin)
	r.pushed(t, frame.Logs, "", "open")
	r.LoseAll("shutdown")
	require.Equal(t, int64(1), r.Snapshot().Signals[frame.Logs].Held)
	require.False(t, r.Seal(f, store))
	require.Equal(t, map[string]int64{"shutdown": 2}, r.Snapshot().Signals[frame.Logs].Lost)
	_, _, err := r.Push(Call{Signal: frame.Traces})
	require.ErrorIs(t, err, ErrClosed)
	require.Zero(t, r.Snapshot().Used)
	require.NoError(t, r.Check())
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
	_, _, err = r.Push(Call{Signal: frame.Logs, Pieces: []Piece{{[]byte("small"), 1}, big}})
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, int64(3), r.Snapshot().Signals[frame.Logs].Accepted)
	_, _, err = r.Push(Call{Signal: frame.Logs, Pieces: []Piece{big, big, big, big}})
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, r.Check())
}

// TestDropSparesWhatIsPinned fills the ring: parked frames go first, then the
// oldest held one; never a frame that a flare or a reader has.
func TestDropSparesWhatIsPinned(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	var frames []*Frame
	add := func() {
		f := r.pushed(t, frame.Logs, "", strings.Repeat("x", 9*PageSize))[0]
		require.True(t, r.Seal(f, store))
		frames = append(frames, f)
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
	_, release, _ = r.Begin(third, begin, nil)
	r.Park(third)
	release()
	add()
	require.Equal(t, []state{flaring, out, out, out, held, held, held, held, held}, states(), "what is parked goes first")
	require.Equal(t, int64(1), r.TakeNews().ParkedDropped[frame.Logs])
	require.Equal(t, int64(2), r.Snapshot().Signals[frame.Logs].Lost["ring_full"])
	r.Fix(fl)
	r.Stored(fl, "expired")
	require.NoError(t, r.Check())
}

// returned begins and ends an attempt whose body is read until the result is called.
func (r *Ring) returned(t *testing.T, f *Frame) (release func()) {
	t.Helper()
	_, release, ok := r.Begin(f, begin, nil)
	require.True(t, ok)
	r.Return(f)
	return release
}

func TestFailuresWhileOthersAreAcked(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	seal := func(s frame.Signal) {
		require.True(t, r.Seal(r.pushed(t, s, "", "x")[0], store))
	}
	seal(frame.Logs)
	bad, _ := r.Lease(Wish{Now: begin})
	fail := func() Failure {
		_, release, ok := r.Begin(bad, begin, nil)
		require.True(t, ok)
		release()
		judged, fail := r.Judge(bad), r.Nack(bad)
		require.Equal(t, judged, fail)
		return fail
	}
	deliver := func(s frame.Signal) {
		seal(s)
		f, _ := r.Lease(Wish{Now: begin, Spread: 100})
		for f == bad {
			t.Fatal("not the other one")
		}
		_, release, _ := r.Begin(f, begin, nil)
		release()
		r.Ack(f, 0)
	}
	again := func() {
		f, _ := r.Lease(Wish{Now: begin, Suspects: true})
		require.Equal(t, bad, f)
	}
	require.Equal(t, Failure{}, fail())
	again()
	require.Equal(t, Failure{}, fail(), "nobody was acked")
	deliver(frame.Traces)
	again()
	require.Equal(t, Failure{1, false}, fail(), "another signal was")
	deliver(frame.Logs)
	again()
	require.Equal(t, Failure{2, true}, fail())
	deliver(frame.Logs)
	again()
	require.Equal(t, Failure{3, true}, fail())
	seal(frame.Logs)
	f, _ := r.Lease(Wish{Now: begin, Suspects: true})
	require.NotEqual(t, bad, f, "it goes to the back")
	f, _ = r.Lease(Wish{Now: begin})
	require.Nil(t, f, "and waits for its time")
}

func TestProbesTakeTurns(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	for range 5 {
		require.True(t, r.Seal(r.pushed(t, frame.Logs, "", "x")[0], store))
	}
	var order []uint64
	for i := range 13 {
		now := begin.Add(time.Duration(i) * time.Second)
		f, _ := r.Lease(Wish{Now: now, Spread: 3})
		_, release, _ := r.Begin(f, now, nil)
		release()
		r.Nack(f)
		order = append(order, f.seq)
	}
	require.Equal(t, []uint64{1, 5, 2 /* half a round */, 1, 5, 4 /* and one more */, 2, 1, 3, 5, 4, 2, 1}, order)
}

// What failed while others were acked is no probe while there is another, and
// of all that did one is sent at a time.
func TestSuspectsHoldNobodyUp(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	add := func(n int) {
		for range n {
			require.True(t, r.Seal(r.pushed(t, frame.Logs, "", "x")[0], store))
		}
	}
	now := begin
	begins := func(f *Frame) {
		now = now.Add(time.Second)
		_, release, ok := r.Begin(f, now, nil)
		require.True(t, ok)
		release()
	}
	add(2)
	for range backAfter + 1 { // the first two are bad, everything else is acked
		for range 2 {
			f, _ := r.Lease(Wish{Now: begin, Spread: 2, Suspects: true})
			begins(f)
			require.LessOrEqual(t, f.seq, uint64(2))
			r.Nack(f)
		}
		add(1)
		f, _ := r.Lease(Wish{Now: begin, Spread: 9, Suspects: true})
		begins(f)
		require.Greater(t, f.seq, uint64(2))
		r.Ack(f, 0)
	}
	bad, _ := r.Lease(Wish{Now: begin, Suspects: true})
	require.True(t, bad.try.back)
	f, _ := r.Lease(Wish{Now: begin, Suspects: true})
	require.Nil(t, f, "the other one waits")
	add(1)
	f, _ = r.Lease(Wish{Now: begin, Suspects: true})
	require.False(t, f.suspect(), "and what is new does not")
	begins(f)
	r.Ack(f, 0)
	begins(bad)
	r.Nack(bad)
	f, _ = r.Lease(Wish{Now: begin, Suspects: true})
	require.True(t, f.suspect())
}

func TestDrillIsInNoCounter(t *testing.T) {
	fits := func(int, int64, int64) bool { return true }
	r := testRing(nil)
	require.True(t, r.AddDrill([]byte("stored"), 99, begin))
	require.False(t, r.AddDrill([]byte("stored"), 99, begin), "one at a time")
	before := r.Snapshot()
	for _, c := range before.Signals {
		require.Zero(t, c.Accepted+c.Held)
	}
	require.True(t, before.Oldest.IsZero())
	require.Equal(t, View{Frames: PageSize, Drill: begin}, r.View())
	f, _ := r.Lease(Wish{Now: begin, Spread: 4})
	require.Nil(t, f, "no sender gets it")
	require.Nil(t, r.Take(FlareWish{Fits: fits}), "nor a flare of telemetry")

	fl := r.Take(FlareWish{Kind: Drill, Fits: fits})
	require.Equal(t, View{Frames: PageSize}, r.View())
	_, ok := r.Borrow(begin, nil)
	require.False(t, ok)
	v := r.Fix(fl)
	require.Len(t, v, 1)
	require.Zero(t, v[0].Header.Seq)
	require.Equal(t, int64(1), v[0].Header.Items)
	r.GiveUp(fl, true)
	require.Equal(t, begin, r.View().Drill)
	r.Stored(r.Take(FlareWish{Kind: Drill, Fits: fits}), "drill")
	require.Zero(t, r.View())
	require.Equal(t, before.Signals, r.Snapshot().Signals)

	require.True(t, r.AddDrill([]byte("stored"), 99, begin))
	r.Lose(r.Take(FlareWish{Kind: Drill, Fits: fits}), "shutdown")
	require.True(t, r.AddDrill([]byte("stored"), 99, begin))
	r.LoseAll("shutdown")
	require.Zero(t, r.View())
	require.Zero(t, r.TakeNews())
	require.False(t, r.AddDrill([]byte("stored"), 99, begin), "the ring has ended")
	require.NoError(t, r.Check())
}

// Room for telemetry is never refused for a drill's sake.
func TestDrillMakesRoom(t *testing.T) {
	r := testRing(func(c *Config) { c.Join, c.DropOldest = false, false })
	require.True(t, r.AddDrill([]byte("stored"), 99, begin))
	for !r.View().Drill.IsZero() {
		full, _, err := r.Push(Call{Signal: frame.Logs, Pieces: []Piece{{[]byte("x"), 1}}, Now: begin})
		require.NoError(t, err)
		require.True(t, r.Seal(full[0], store))
	}
	require.False(t, r.AddDrill(make([]byte, 9*PageSize), 99, begin), "and nothing is dropped for one")
	require.Zero(t, r.TakeNews())
	require.NoError(t, r.Check())
}

func TestFlareCancelsAttempts(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	require.True(t, r.Seal(r.pushed(t, frame.Logs, "", "x")[0], store))
	f, _ := r.Lease(Wish{Now: begin})
	cancelled := 0
	_, release, _ := r.Begin(f, begin, func() { cancelled++ })
	fl := r.Take(FlareWish{Fits: func(int, int64, int64) bool { return true }})
	require.Equal(t, 1, cancelled)
	r.Return(f)
	release()
	values := r.Fix(fl)
	require.Equal(t, int64(2), values[0].Header.Attempt)
	r.GiveUp(fl, true)
	f, first := r.Lease(Wish{Now: begin})
	require.False(t, first)
	v, release, ok := r.Begin(f, begin, nil)
	require.True(t, ok)
	require.Equal(t, int64(3), v.Header.Attempt, "the PUT may have landed")
	release()
	r.Ack(f, 0)
	require.Equal(t, Delivered, f.Fate())
	require.Zero(t, r.Snapshot().Used)
}

// TestBlobsStayWithinTheCapacity reserves what is set aside, and what else is free.
func TestBlobsStayWithinTheCapacity(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	require.True(t, r.Seal(r.pushed(t, frame.Logs, "", strings.Repeat("x", 43*PageSize))[0], store))
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
		require.True(t, r.Seal(r.pushed(t, frame.Logs, "", "x")[0], store))
	}
	require.Greater(t, r.space.pool.chunks, spareChunks)
	for range frames {
		f, _ := r.Lease(Wish{Now: begin})
		_, release, _ := r.Begin(f, begin, nil)
		release()
		r.Ack(f, 0)
	}
	require.Equal(t, spareChunks, r.space.pool.chunks)
	require.Zero(t, r.Snapshot().Used)
	require.NoError(t, r.Check())
	r.LoseAll("shutdown")
	require.Zero(t, r.space.pool.chunks)
}

// TestQueueOrder inserts at both ends and in the middle.
func TestQueueOrder(t *testing.T) {
	var q queue
	for _, order := range []uint64{50, 60, 10, 55, 51, 20, 60, 59, 1, 100, 10} {
		q.insert(&Frame{order: order})
	}
	var got []uint64
	for f := q.first; f != nil; f = f.node.next {
		got = append(got, f.order)
	}
	require.Equal(t, []uint64{1, 10, 10, 20, 50, 51, 55, 59, 60, 60, 100}, got)
	for q.first != nil {
		q.remove(q.last)
	}
	require.Zero(t, q.len)
}

// A call that does not fit all the same must not cost others their data.
func TestNothingIsDroppedForACallThatDoesNotFit(t *testing.T) {
	r := testRing(nil) // 64 pages, 8 of them set aside
	for i := range 30 {
		r.pushed(t, frame.Logs, fmt.Sprint(i), "open, cannot be dropped")
	}
	for range 15 {
		f := r.pushed(t, frame.Profiles, "", "held")
		require.True(t, r.Seal(f[0], store))
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
			require.True(t, r.Seal(r.pushed(t, frame.Logs, "", raw)[0], store))
		}
		require.Positive(t, r.short(4), "two halves do not fit beside the frame")
		f, _ := r.Lease(Wish{Now: begin})
		_, release, ok := r.Begin(f, begin, nil)
		require.True(t, ok)
		release()
		half := Half{Stored: []byte(raw[:len(raw)/2]), Raw: int64(len(raw) / 2), Items: 1}
		require.True(t, r.Divide(f, half, half))
		require.NoError(t, r.Check())
		require.Empty(t, r.Snapshot().Signals[frame.Logs].Lost)
	}
}
