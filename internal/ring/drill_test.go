package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestDrillIsInNoCounter(t *testing.T) {
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
	require.Nil(t, r.Take(everything(Telemetry)), "nor a flare of telemetry")

	fl := r.Take(everything(Drill))
	require.Equal(t, View{Frames: PageSize}, r.View())
	_, ok := r.Borrow(begin, nil)
	require.False(t, ok)
	v := r.Fix(fl)
	require.Len(t, v, 1)
	require.Zero(t, v[0].Header.Seq)
	require.Equal(t, int64(1), v[0].Header.Items)
	r.GiveUp(fl, true)
	require.Equal(t, begin, r.View().Drill)
	r.Stored(r.Take(everything(Drill)), "drill")
	require.Zero(t, r.View())
	require.Equal(t, before.Signals, r.Snapshot().Signals)

	require.True(t, r.AddDrill([]byte("stored"), 99, begin))
	r.Lose(r.Take(everything(Drill)), "shutdown")
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
