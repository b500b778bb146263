package ring

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestProbesTakeTurns(t *testing.T) {
	r := testRing(func(c *Config) { c.Join = false })
	for range 5 {
		r.sealed(t, frame.Logs, "x")
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
			r.sealed(t, frame.Logs, "x")
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
