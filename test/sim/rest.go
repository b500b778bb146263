package sim

import (
	"cmp"
	"slices"
	"sync"
	"testing/synctest"
)

// rests lets goroutines of one instant go on one after the other, by what they do
// and not by who is first: each when all else in the bubble has come to rest.
type rests struct {
	news chan struct{} // capacity 1: somebody waits
	over chan struct{} // closed: nobody will

	mu      sync.Mutex
	waiting []rest // guarded by mu
}

// rest is a goroutine that waits.
type rest struct {
	what string
	goOn chan struct{}
}

func newRests() *rests {
	return &rests{news: make(chan struct{}, 1), over: make(chan struct{})}
}

// run lets those who wait go on, until over is closed. Only one goroutine of a
// bubble may wait for the others, so it is this one.
func (rs *rests) run() {
	for {
		select {
		case <-rs.news:
		case <-rs.over:
			return
		}
		for {
			synctest.Wait()
			first, ok := rs.first()
			if !ok {
				break
			}
			close(first.goOn)
		}
	}
}

// first takes out who goes on first.
func (rs *rests) first() (first rest, ok bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.waiting) == 0 {
		return rest{}, false
	}
	slices.SortFunc(rs.waiting, func(a, b rest) int { return cmp.Compare(a.what, b.what) })
	first, rs.waiting = rs.waiting[0], rs.waiting[1:]
	return first, true
}

// rest returns when everything that happens in this instant has happened, but for
// what rests, too, and is of a later name. The caller holds no lock.
func (rs *rests) rest(what string) {
	r := rest{what, make(chan struct{})}
	rs.mu.Lock()
	rs.waiting = append(rs.waiting, r)
	rs.mu.Unlock()
	select {
	case rs.news <- struct{}{}:
	default:
	}
	<-r.goOn
}
