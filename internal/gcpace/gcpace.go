// Package gcpace fits the pace of the garbage collector to components that keep
// little on the heap and make much garbage on it.
//
// Go collects when the heap has doubled. At a few MiB that is dozens of times a
// second, for nothing; at hundreds of MiB it leaves as much garbage resident. The
// pace is set anew after every collection, to at least Floor more bytes and, as
// far as Budget explains what lives, to at most a third of it. It holds for the
// whole process, so whoever has set GOGC has the last word, and so has GOMEMLIMIT.
package gcpace

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Demand is what one component asks for, in bytes.
type Demand struct {
	Floor  int64 // let the heap grow by this much before it is collected
	Budget int64 // of live heap that the component bounds itself; 0: none
}

const (
	usual     = 100 // percent, Go's default
	unlimited = math.MaxInt64
	// most bounds how far the heap can outgrow its pace until that is set anew.
	most = 400
)

// headroom returns how many bytes may be allocated until the next collection,
// when live bytes survived the last one. Live heap within the budget gets a third of
// it at most; what goes beyond it is somebody else's, and gets its own
// size as usual.
func (d Demand) headroom(live int64) int64 {
	third := d.Budget / 3
	return max(d.Floor, live-min(max(live-third, 0), d.Budget-third))
}

// percent returns the headroom as GOGC has it, which is a share of what lives and
// of the roots that lead there.
func (d Demand) percent(live, roots int64) int {
	return int(min(d.headroom(live)*100/max(live+roots, 1), most))
}

// besides is what a process has besides its heap and its stacks: the runtime's own,
// and free pages that are about to go back.
const besides = 64 << 20

// limit returns where garbage is collected and free pages are given back at any
// price. It rises with stacks, which count and cannot be collected, and with what
// lives beyond the budget, so that it never costs somebody else more than one
// early collection.
func (d Demand) limit(live, stacks int64) int64 {
	if d.Budget == 0 {
		return unlimited
	}
	live = max(live, d.Budget)
	return besides + stacks + live + d.headroom(live)
}

// process is the pacer of this process.
var process = &pacer{set: debug.SetGCPercent, limit: debug.SetMemoryLimit}

// Start applies the demand until stop is called. Of several, the highest floor
// counts, and the sum of the budgets.
func Start(d Demand) (stop func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	return process.start(&d)
}

// Tighten collects whenever a tenth of what lives has been allocated, until release
// is called. It is for short work on something large.
func Tighten() (release func()) { return process.tighten() }

type pacer struct {
	set   func(percent int) int   // debug.SetGCPercent
	limit func(bytes int64) int64 // debug.SetMemoryLimit

	mu      sync.Mutex // guards the following, and calls of set
	demands map[*Demand]struct{}
	round   int  // ends with the next collection
	limits  bool // nobody else has set a limit of memory
	tight   int  // how many want the tightest pace
	loose   int  // the pace without them
}

// tightest is the pace of Tighten, in percent.
const tightest = 10

func (p *pacer) tighten() (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tight++; p.tight == 1 {
		p.loose = p.set(tightest)
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.tight--; p.tight == 0 {
			p.set(p.loose)
		}
	})
}

// pace sets the pace, at the latest when nobody wants the tightest, and returns the
// one before. The caller holds mu.
func (p *pacer) pace(percent int) (before int) {
	if p.tight == 0 {
		return p.set(percent)
	}
	before, p.loose = p.loose, percent
	return before
}

func (p *pacer) start(d *Demand) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.demands) == 0 {
		if before := p.pace(usual); before != usual {
			p.pace(before)
			return func() {}
		}
		p.demands = map[*Demand]struct{}{}
		p.limits = p.limit(-1) == unlimited
		p.arm()
	}
	p.demands[d] = struct{}{}
	p.tune()
	return func() { p.stop(d) }
}

func (p *pacer) stop(d *Demand) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.demands[d]; !ok {
		return
	}
	delete(p.demands, d)
	if len(p.demands) == 0 {
		p.round++ // no collection concerns us any more
		p.pace(usual)
		if p.limits {
			p.limit(unlimited)
		}
		return
	}
	p.tune()
}

// arm makes the next collection call collected. The caller holds mu.
func (p *pacer) arm() {
	p.round++
	// Of a size of its own, not packed together with others that live on.
	runtime.AddCleanup(new([64]byte), p.collected, p.round)
}

// collected runs in the runtime's goroutine for cleanups.
func (p *pacer) collected(round int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if round == p.round {
		p.arm()
		p.tune()
	}
}

// tune sets the pace for what lives now. The caller holds mu.
func (p *pacer) tune() {
	var all Demand
	for d := range p.demands {
		all.Floor = max(all.Floor, d.Floor)
		all.Budget += d.Budget
	}
	heap := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/gc/scan/stack:bytes"},
		{Name: "/gc/scan/globals:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(heap)
	size := func(i int) int64 { return int64(heap[i].Value.Uint64()) } //nolint:gosec // sizes of memory
	p.pace(all.percent(size(0), size(1)+size(2)))
	if p.limits {
		p.limit(all.limit(size(0), size(3)))
	}
}
