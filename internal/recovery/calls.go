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
	cleanTimeout  = 5 * time.Second // tidying up after Run was told to stop
)

// timed is a bucket in which no call lasts for ever.
type timed struct{ bucket.Bucket }

func (t timed) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (bucket.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return t.Bucket.Put(ctx, key, body, opts)
}

func (t timed) Get(ctx context.Context, key string, limit int64) ([]byte, bucket.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	return t.Bucket.Get(ctx, key, limit)
}

func (t timed) List(ctx context.Context, prefix, after string) (bucket.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return t.Bucket.List(ctx, prefix, after)
}

func (t timed) Delete(ctx context.Context, key string) (bucket.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return t.Bucket.Delete(ctx, key)
}

func (t timed) Copy(ctx context.Context, src, dst string) (bucket.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, objectTimeout)
	defer cancel()
	return t.Bucket.Copy(ctx, src, dst)
}

// refresh lets the owner of the bucket renew its credentials.
func (l *Loop) refresh(ctx context.Context) {
	if l.s.Refresh == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l.s.Refresh(ctx)
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
