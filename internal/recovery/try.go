package recovery

import (
	"context"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// tries are the try markers of one flare: one for every process that began to
// open it and did not come to an end, and one of this process while it is at it.
type tries struct {
	keys   []string
	listed bool // the flare is in the bucket
}

// listTries finds the try markers that dead processes left behind. First it
// removes those that this process could not remove before: they would make a
// living process look dead.
func (l *Loop) listTries(ctx context.Context) error {
	for key := range l.debts {
		l.removeTry(ctx, key)
	}
	l.tries = map[string]*tries{}
	prefix := l.s.StatePrefix + "try/"
	return l.each(ctx, prefix, func(info bucket.Info, _ time.Time) {
		id, _, ok := strings.Cut(strings.TrimPrefix(info.Key, prefix), ".")
		if !ok || !frame.IsHex32(id) || l.debts[info.Key] {
			return
		}
		l.triesOf(id).keys = append(l.triesOf(id).keys, info.Key)
	})
}

func (l *Loop) triesOf(id string) *tries {
	t := l.tries[id]
	if t == nil {
		t = &tries{}
		l.tries[id] = t
	}
	return t
}

// try writes down that this process opens a flare.
func (l *Loop) try(ctx context.Context, id string) error {
	t := l.triesOf(id)
	key := l.s.tryKey(id, len(t.keys)+1)
	t.keys = append(t.keys, key) // also after an error: the marker may be there
	_, err := l.bucket.Put(ctx, key, frame.Bytes(nil), bucket.PutOptions{})
	return err
}

// untry removes every try marker of a flare: opening it came to an end. It also
// works when Run was told to stop, because a stopped process is not a dead one.
func (l *Loop) untry(ctx context.Context, id string) {
	t := l.tries[id]
	if t == nil {
		return
	}
	delete(l.tries, id)
	for _, key := range t.keys {
		l.removeTry(ctx, key)
	}
}

func (l *Loop) removeTry(ctx context.Context, key string) {
	if ctx.Err() != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
	}
	if _, err := l.bucket.Delete(ctx, key); err != nil {
		l.debts[key] = true
		return
	}
	delete(l.debts, key)
}
