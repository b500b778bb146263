package recovery

import (
	"context"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

const (
	callTimeout   = time.Minute     // a call that moves little
	objectTimeout = 5 * time.Minute // a call that moves a whole flare
	lateTimeout   = 5 * time.Second // sending the rest of a flare after Run was told to stop
	cleanTimeout  = 5 * time.Second // tidying up behind that
)

// timed is a bucket in which no call lasts for ever, and none is made under the
// loop's lock.
type timed struct {
	store     bucket.Bucket
	outside   func(func())
	tidyUntil time.Time // when tidying up ends; zero before it begins
}

// tidying returns a context for calls that are still made when ctx has ended. All
// of them together have cleanTimeout. It is called under the loop's lock.
func (t *timed) tidying(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.tidyUntil.IsZero() {
		t.tidyUntil = time.Now().Add(cleanTimeout)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), t.tidyUntil)
}

// lasting returns a context that ends lateTimeout after ctx.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lateTimeout, cancel) })
	return late, func() { stop(); cancel() }
}

func (t *timed) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (info bucket.Info, err error) {
	t.within(ctx, callTimeout, func(ctx context.Context) { info, err = t.store.Put(ctx, key, body, opts) })
	return info, err
}

func (t *timed) Get(ctx context.Context, key string, opts bucket.GetOptions) (data []byte, info bucket.Info, err error) {
	t.within(ctx, objectTimeout, func(ctx context.Context) { data, info, err = t.store.Get(ctx, key, opts) })
	return data, info, err
}

func (t *timed) List(ctx context.Context, prefix, after string) (page bucket.Page, err error) {
	t.within(ctx, callTimeout, func(ctx context.Context) { page, err = t.store.List(ctx, prefix, after) })
	return page, err
}

func (t *timed) Delete(ctx context.Context, key string) (info bucket.Info, err error) {
	t.within(ctx, callTimeout, func(ctx context.Context) { info, err = t.store.Delete(ctx, key) })
	return info, err
}

func (t *timed) Copy(ctx context.Context, src, dst string) (info bucket.Info, err error) {
	t.within(ctx, objectTimeout, func(ctx context.Context) { info, err = t.store.Copy(ctx, src, dst) })
	return info, err
}

func (t *timed) within(ctx context.Context, d time.Duration, call func(context.Context)) {
	t.outside(func() {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		call(ctx)
	})
}

// refresh lets the owner of the bucket renew its credentials.
func (l *Loop) refresh(ctx context.Context) {
	if l.s.Refresh == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l.outside(func() { l.s.Refresh(ctx) })
}

// each calls do for every object under prefix, in byte order.
func (l *Loop) each(ctx context.Context, prefix string, do func(bucket.Info, time.Time)) error {
	for after := ""; ; {
		page, err := l.bucket.List(ctx, prefix, after)
		if err != nil {
			return bucketPath(err)
		}
		for _, o := range page.Objects {
			do(o, page.Date)
		}
		if !page.More || len(page.Objects) == 0 {
			return nil
		}
		after = page.Objects[len(page.Objects)-1].Key
	}
}
