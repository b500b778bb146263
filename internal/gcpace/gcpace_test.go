package gcpace

import (
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

const mib = 1 << 20

func TestHeadroom(t *testing.T) {
	gateway, agent := Demand{Floor: 64 * mib, Budget: 300 * mib}, Demand{Floor: 32 * mib}
	for _, c := range []struct {
		name       string
		d          Demand
		live, want int64
	}{
		{"little lives: the floor", gateway, 10 * mib, 64 * mib},
		{"more lives: as usual", gateway, 100 * mib, 100 * mib},
		{"held down", gateway, 200 * mib, 100 * mib},
		{"all of the budget is in use", gateway, 300 * mib, 100 * mib},
		{"somebody else's", gateway, 1000 * mib, 800 * mib},
		{"no budget, little lives", agent, 10 * mib, 32 * mib},
		{"no budget: as usual", agent, 500 * mib, 500 * mib},
	} {
		require.Equal(t, c.want, c.d.headroom(c.live), c.name)
	}
}

func TestPercent(t *testing.T) {
	d := Demand{Floor: 32 * mib}
	require.Equal(t, 200, d.percent(16*mib, 0))
	require.Equal(t, 160, d.percent(16*mib, 4*mib), "GOGC counts roots, too")
	require.Equal(t, most, d.percent(mib, 0), "the heap may be large before the pace is set again")
	require.Equal(t, most, d.percent(0, 0))
}

func TestLimit(t *testing.T) {
	d := Demand{Floor: 64 * mib, Budget: 300 * mib}
	require.EqualValues(t, besides+400*mib, d.limit(10*mib, 0), "the budget may be used at once")
	require.EqualValues(t, besides+400*mib, d.limit(300*mib, 0))
	require.EqualValues(t, besides+1800*mib, d.limit(1000*mib, 0), "no limit to what is not the budget's")
	require.EqualValues(t, besides+500*mib, d.limit(300*mib, 100*mib), "stacks are not garbage, however many there are")
	require.EqualValues(t, unlimited, Demand{Floor: 64 * mib}.limit(10*mib, 0))
}

// fixture returns a pacer that sets the pace of this process and tells what it sets.
func fixture(t *testing.T) (p *pacer, paces chan int) {
	t.Helper()
	require.Equal(t, usual, debug.SetGCPercent(usual), "these tests need the default GOGC")
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	paces = make(chan int, 1000)
	return &pacer{limit: debug.SetMemoryLimit, set: func(percent int) int {
		before := debug.SetGCPercent(percent)
		paces <- percent
		return before
	}}, paces
}

// last returns the last pace that was set so far.
func last(t *testing.T, paces chan int) (pace int) {
	t.Helper()
	for n := len(paces); n > 0; n-- {
		pace = <-paces
	}
	require.NotZero(t, pace, "a pace was set")
	return pace
}

// until collects until a pace is set that satisfies ok.
func until(paces chan int, ok func(pace int) bool) {
	for found := false; !found; found = ok(<-paces) {
		runtime.GC()
		runtime.GC() // the next round may have begun in the midst of the first one
	}
}

func TestPaceFollowsTheHeap(t *testing.T) {
	p, paces := fixture(t)
	stop := p.start(&Demand{Floor: 16 * mib, Budget: 1 << 40})
	require.Greater(t, last(t, paces), usual)
	require.Less(t, debug.SetMemoryLimit(-1), int64(unlimited))

	func() {
		live := make([]byte, 64*mib)
		until(paces, func(pace int) bool { return pace <= usual }) // more than the floor lives
		runtime.KeepAlive(live)
	}()
	until(paces, func(pace int) bool { return pace > usual }) // it is gone

	stop()
	require.Equal(t, usual, debug.SetGCPercent(usual), "as before")
	require.EqualValues(t, unlimited, debug.SetMemoryLimit(-1), "as before")
}

func TestSeveralDemands(t *testing.T) {
	p, paces := fixture(t)
	stopFirst := p.start(&Demand{Floor: 8 * mib})
	small := last(t, paces)
	stopSecond := p.start(&Demand{Floor: 12 * mib})
	require.GreaterOrEqual(t, last(t, paces), small)
	stopFirst()
	require.Greater(t, last(t, paces), usual, "the second one is there")
	stopSecond()
	require.Equal(t, usual, last(t, paces))
	stopSecond()
}

func TestTheUserHasTheLastWord(t *testing.T) {
	p, paces := fixture(t)
	debug.SetMemoryLimit(1 << 40)
	t.Cleanup(func() { debug.SetMemoryLimit(unlimited) })
	p.start(&Demand{Floor: 16 * mib, Budget: 256 * mib})()
	require.EqualValues(t, 1<<40, debug.SetMemoryLimit(-1))
	debug.SetGCPercent(50)
	stop := p.start(&Demand{Floor: 16 * mib})
	require.Equal(t, 50, last(t, paces))
	stop()
	require.Equal(t, 50, debug.SetGCPercent(usual))

	t.Setenv("GOGC", "100")
	Start(Demand{Floor: 16 * mib})()
	require.Empty(t, process.demands)
}

// Who works on something large has the tightest pace, whoever starts, stops or
// collects meanwhile; and then all is as it would have been.
func TestTighten(t *testing.T) {
	p, paces := fixture(t)
	first, second := p.tighten(), p.tighten()
	require.Equal(t, tightest, last(t, paces))
	stop := p.start(&Demand{Floor: 64 * mib})
	runtime.GC()
	first()
	require.Empty(t, paces)
	second()
	require.Greater(t, last(t, paces), usual, "the pace of who started meanwhile")
	third := p.tighten()
	stop()
	third()
	require.Equal(t, usual, last(t, paces))
}
