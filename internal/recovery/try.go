package recovery

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// danger is a work on a flare that may kill the process, by the memory it needs.
// Each is counted by itself: a flare that opens well may still be deadly to split.
type danger string

// The dangers, as the names of their markers have them.
const (
	opening   danger = ""  // and decoding, if it is a drill
	splitting danger = "s" // a record that was too large for the gateway
)

// tryMarkers are the try markers in the bucket.
type tryMarkers struct {
	flares map[string]*tries // by flare id
	debts  map[string]bool   // keys of those that are still to be removed
}

func newTryMarkers() tryMarkers {
	return tryMarkers{flares: map[string]*tries{}, debts: map[string]bool{}}
}

// of returns the markers of a flare; nil for none.
func (m *tryMarkers) of(id string) *tries { return m.flares[id] }

// open returns the markers of a flare, to which one may be added.
func (m *tryMarkers) open(id string) *tries {
	t := m.flares[id]
	if t == nil {
		t = &tries{keys: map[danger][]string{}}
		m.flares[id] = t
	}
	return t
}

// next returns the key of one more marker beside those of a flare. It is one that is
// still to be removed, if there is: a process leaves one at most.
func (m *tryMarkers) next(beside []string, key func(n int) string) string {
	free := ""
	for n := maxTries; n > 0; n-- {
		switch k := key(n); {
		case m.debts[k]:
			return k
		case !slices.Contains(beside, k):
			free = k
		}
	}
	return free
}

// abandon has the markers removed of flares that are not in the bucket.
func (m *tryMarkers) abandon() {
	for id, t := range m.flares {
		if t.listed {
			continue
		}
		for _, keys := range t.keys {
			for _, key := range keys {
				m.debts[key] = true
			}
		}
		delete(m.flares, id)
	}
}

// tries are the try markers of one flare, by danger: one for every process that
// did not come to an end with it, and one of this process while it is at it.
type tries struct {
	keys   map[danger][]string
	listed bool // the flare is in the bucket
}

// deadly reports whether too many processes died of a flare.
func (t *tries) deadly() bool {
	return t != nil && (len(t.keys[opening]) >= maxTries || len(t.keys[splitting]) >= maxTries)
}

// suspect reports whether a process died of a flare, or of another one that it
// worked on at the same time.
func (t *tries) suspect() bool {
	return t != nil && len(t.keys[opening])+len(t.keys[splitting]) > 0
}

// listTries finds the try markers that dead processes left behind. First it
// removes those that nobody needs: they would make a living process look dead.
func (l *Loop) listTries(ctx context.Context) error {
	for _, key := range slices.Sorted(maps.Keys(l.tries.debts)) {
		if !l.removeTry(ctx, key) {
			break // the others have time; each may take as long as a call may
		}
	}
	clear(l.tries.flares)
	prefix := l.s.StatePrefix + "try/"
	return l.each(ctx, prefix, func(info bucket.Info, _ time.Time) {
		id, n, ok := strings.Cut(strings.TrimPrefix(info.Key, prefix), ".")
		if !ok || !frame.IsHex32(id) || l.tries.debts[info.Key] || !l.ours(id) {
			return
		}
		d := opening
		if strings.HasPrefix(n, string(splitting)) {
			d = splitting
		}
		t := l.tries.open(id)
		t.keys[d] = append(t.keys[d], info.Key)
	})
}

// try writes down that this process does something dangerous with a flare.
func (l *Loop) try(ctx context.Context, id string, d danger) error {
	t := l.tries.open(id)
	key := l.tries.next(t.keys[d], func(n int) string { return l.s.tryKey(id, d, n) })
	delete(l.tries.debts, key)
	t.keys[d] = append(t.keys[d], key) // also after an error: the marker may be there
	_, err := l.bucket.Put(ctx, key, frame.Bytes(nil), bucket.PutOptions{})
	return err
}

// untry removes every try marker of a danger: it came to an end. It also works
// when Run was told to stop, because a stopped process is not a dead one.
func (l *Loop) untry(ctx context.Context, id string, d danger) {
	t := l.tries.open(id)
	for _, key := range t.keys[d] {
		l.removeTry(ctx, key)
	}
	delete(t.keys, d)
}

// removeTry removes a try marker or remembers it as a debt. After the end of ctx
// all calls together have cleanTimeout.
func (l *Loop) removeTry(ctx context.Context, key string) (ok bool) {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = l.bucket.tidying(ctx)
		defer cancel()
	}
	if _, err := l.bucket.Delete(ctx, key); err != nil {
		l.tries.debts[key] = true
		return false
	}
	delete(l.tries.debts, key)
	return true
}
