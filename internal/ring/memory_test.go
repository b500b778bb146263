package ring

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// counted is memory that knows what is out, and that can run dry.
type counted struct {
	memory
	out, gets int
	dry       bool
}

func (c *counted) get() ([]byte, error) {
	c.gets++
	if c.dry {
		return nil, errors.New("no mapping left")
	}
	c.out++
	return c.memory.get()
}

func (c *counted) put(chunk []byte) {
	c.out--
	c.memory.put(chunk)
}

// Pages come and go in any order; all the time no more is mapped than is needed.
func TestChunksNeverExceedWhatIsUsedByOne(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same story every time
	source := &counted{memory: system()}
	p := pages{source: source}
	var out [][]page
	var most int64
	for range 5000 {
		if random.IntN(2) == 0 && p.out < 1000 {
			got := p.take(nil, 1+random.Int64N(150))
			for _, page := range got {
				copy(page.bytes(), "mine")
			}
			out = append(out, got)
		} else if len(out) > 0 {
			i := random.IntN(len(out))
			p.give(out[i])
			out[i] = out[len(out)-1]
			out = out[:len(out)-1]
		}
		most = max(most, p.out)
		require.NoError(t, p.check())
		require.Equal(t, p.chunks, source.out)
		require.Less(t, int64(source.out)*chunkPages, most+chunkPages)
	}
	seen := map[page]bool{}
	for _, pages := range out {
		for _, page := range pages {
			require.False(t, seen[page], "handed out twice")
			seen[page] = true
		}
		p.give(pages)
	}
	require.Zero(t, source.out)
	require.NoError(t, p.check())
}

// A young frame goes where others are, so that chunks can empty.
func TestTheFullestChunkIsUsedFirst(t *testing.T) {
	p := pages{source: system()}
	a, b, c := p.take(nil, chunkPages), p.take(nil, chunkPages), p.take(nil, chunkPages)
	p.give(a[:10])
	p.give(b[:3])
	p.give(c[:20])
	got := p.take(nil, 4)
	for _, page := range got[:3] {
		require.Equal(t, b[0].of, page.of)
	}
	require.Equal(t, a[0].of, got[3].of)
	for _, pages := range [][]page{a[10:], b[3:], c[20:], got} {
		p.give(pages)
	}
	require.NoError(t, p.check())
	require.Zero(t, p.chunks)
}

func TestTheHeapHelpsOutWhenNothingCanBeMapped(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	source := &counted{memory: system(), dry: true}
	r.space.pool = pages{source: source}
	r.sealed(t, frame.Logs, "kept all the same")
	require.Equal(t, 1, source.gets, "it was asked")
	require.NoError(t, r.Check())
	f, _ := r.Lease(Wish{Now: begin})
	v, release, _ := r.Begin(f, begin, nil)
	require.Equal(t, "kept all the same", string(content(v.Stored)))
	release()
	r.Ack(f, 0)
	require.Zero(t, source.out, "what came from the heap goes back there")
	require.NoError(t, r.Check())
}

// A client reads a flare after its call has returned, and after its pages are
// somebody else's.
func TestALateReaderOfAFlareIsCutOff(t *testing.T) {
	r := testRing(nil)
	b := r.NewBlob(3 * PageSize)
	_, err := io.Copy(b, strings.NewReader(strings.Repeat("sealed", 1000)))
	require.NoError(t, err)
	b.Close()
	body := b.Body()
	lent := frame.Lend(body).Reader() // as a bucket's client does
	var whole bytes.Buffer
	n, err := body.WriteTo(&whole)
	require.NoError(t, err)
	require.Equal(t, int64(6000), n)
	require.Equal(t, strings.Repeat("sealed", 1000), whole.String())
	_, err = io.ReadFull(lent, make([]byte, 10))
	require.NoError(t, err)

	b.Free()
	r.space.pool.keep(0)
	require.Zero(t, r.space.pool.chunks, "nothing is mapped any more")
	for range 2 { // and the same when the pages are in use again
		_, err = lent.Read(make([]byte, 1))
		require.ErrorIs(t, err, frame.ErrLoanEnded)
		_, err = body.WriteTo(io.Discard)
		require.ErrorIs(t, err, frame.ErrLoanEnded)
		_, err = body.(io.ReaderAt).ReadAt(make([]byte, 1), 0)
		require.ErrorIs(t, err, frame.ErrLoanEnded)
		r.pushed(t, frame.Logs, "", "another frame")
	}
	require.Equal(t, int64(6000), body.Len())
	require.NoError(t, r.Check())
}

// The end of a ring waits for whoever reads: first for the sender, then for the
// client it uses.
func TestLoseAllLeavesNothingMappedOnceReadersAreGone(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	var readers []func()
	var bodies []frame.Body
	for range 3 {
		r.sealed(t, frame.Logs, strings.Repeat("x", 5*PageSize))
		f, _ := r.Lease(Wish{Now: begin})
		v, release, _ := r.Begin(f, begin, nil)
		bodies = append(bodies, v.Stored)
		readers = append(readers, release, func() { r.Ack(f, 0) })
	}
	r.sealed(t, frame.Logs, "flared")
	f, _ := r.Lease(Wish{Now: begin})
	fl := r.Take(everything(Telemetry))
	require.Len(t, fl.frames, 4)
	r.GiveUp(fl, false)
	fl = r.Take(FlareWish{Fits: func(n int, _, _ int64) bool { return n <= 1 }})
	r.LoseAll("shutdown")
	for _, b := range bodies {
		require.Equal(t, strings.Repeat("x", 5*PageSize), string(content(b)))
	}
	for _, done := range readers {
		require.NotZero(t, r.space.pool.chunks)
		done()
		require.NoError(t, r.Check())
	}
	require.Equal(t, Lost, f.Fate())
	require.NotZero(t, r.Snapshot().Signals[frame.Logs].Held, "a flare has the oldest")
	r.GiveUp(fl, true)
	require.Zero(t, r.space.pool.chunks)
	items := r.Snapshot().Signals[frame.Logs]
	require.Zero(t, items.Held)
	require.Equal(t, int64(3), items.Lost["shutdown"])
	require.NoError(t, r.Check())
}

// Metadata lives on the heap, and counts all the same.
func TestMetadataCountsAgainstTheCapacity(t *testing.T) {
	meta := map[string][]string{"tenant": {strings.Repeat("t", 8000)}}
	side := sidePages(meta)
	require.Equal(t, int64(4), side, "twice 8000 bytes and a little")
	require.Zero(t, sidePages(nil))
	r := testRing(func(c *Config) { c.Join, c.DropOldest = false, false }) // 56 pages for frames
	push := func() (*Frame, error) {
		full, _, err := r.Push(Call{Signal: frame.Logs, Meta: meta, Key: "tenant", Pieces: []Piece{{[]byte("small"), 2}}, Now: begin})
		if err != nil {
			return nil, err
		}
		require.True(t, r.Seal(full[0], store))
		return full[0], nil
	}
	first, err := push()
	require.NoError(t, err)
	require.Equal(t, (side+1)*PageSize, r.Snapshot().Used)
	require.Equal(t, (side+1)*PageSize, r.View().Frames)
	n := 1
	for _, err = push(); err == nil; _, err = push() {
		n++
		require.NoError(t, r.Check())
	}
	require.ErrorIs(t, err, ErrFull)
	require.Equal(t, 11, n, "not 56")

	f, _ := r.Lease(Wish{Now: begin})
	require.Equal(t, first, f)
	_, release, _ := r.Begin(f, begin, nil)
	require.False(t, r.Divide(f, Half{[]byte("a"), 1, 1}, Half{}), "each half has metadata of its own")
	r.Park(f)
	release()
	require.Equal(t, (side+1)*PageSize, r.ParkedBytes())
	_, err = push()
	require.NoError(t, err, "what is parked makes room")
	require.Zero(t, r.ParkedBytes())
	require.NoError(t, r.Check())
	r.LoseAll("shutdown")
	require.Zero(t, r.Snapshot().Used)
}
