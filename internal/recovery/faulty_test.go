package recovery

import (
	"context"
	"strings"
	"sync"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// moment is when a fault strikes a call.
type moment int

const (
	before moment = iota // the call has no effect, and fails
	after                // the call has its effect, and fails
	hang                 // the call has its effect, and never answers
)

// wire is the bucket and the gateway as one process reaches them. It can break
// one chosen call, and die with it: nothing that the process does after that has
// an effect any more.
type wire struct {
	w     *world
	match func(call int, op, key string) bool // which call a fault strikes
	when  moment
	dies  bool
	left  int // how many calls the fault strikes

	mu sync.Mutex
	// mu guards the following.
	pause  func(op, key string) // called before every call
	calls  int
	struck int
	dead   bool
}

var errDead = &bucket.Error{Op: "any", Kind: bucket.Unreachable, Err: context.Canceled}

// strikes reports whether the process is dead already, and whether the fault
// meets this call.
func (x *wire) strikes(op, key string) (dead, struck bool) {
	x.mu.Lock()
	pause := x.pause
	x.mu.Unlock()
	if pause != nil {
		pause(op, key)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.dead {
		return true, false
	}
	x.calls++
	if x.match == nil || x.struck >= x.left || !x.match(x.calls, op, key) {
		return false, false
	}
	x.struck++
	x.dead = x.dies
	return false, true
}

// do makes a bucket call, with the fault if it is its turn.
func (x *wire) do(op, key string, call func() error) error {
	switch dead, struck := x.strikes(op, key); {
	case dead:
		return errDead
	case !struck:
		return call()
	}
	switch x.when {
	case before:
		x.w.bucket.Fail(op, 1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Unreachable})
	case after:
		x.w.bucket.Fail(op, 1, bucket.AfterEffect, &bucket.Error{Kind: bucket.Unknown})
	case hang:
		x.w.bucket.Hang(op, 1, bucket.AfterEffect)
	}
	return call()
}

func (x *wire) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (info bucket.Info, err error) {
	err = x.do("put", key, func() (err error) { info, err = x.w.bucket.Put(ctx, key, body, opts); return err })
	return info, err
}

func (x *wire) Get(ctx context.Context, key string, opts bucket.GetOptions) (data []byte, info bucket.Info, err error) {
	err = x.do("get", key, func() (err error) { data, info, err = x.w.bucket.Get(ctx, key, opts); return err })
	return data, info, err
}

func (x *wire) List(ctx context.Context, prefix, from string) (page bucket.Page, err error) {
	err = x.do("list", prefix, func() (err error) { page, err = x.w.bucket.List(ctx, prefix, from); return err })
	return page, err
}

func (x *wire) Delete(ctx context.Context, key string) (info bucket.Info, err error) {
	err = x.do("delete", key, func() (err error) { info, err = x.w.bucket.Delete(ctx, key); return err })
	return info, err
}

func (x *wire) Copy(ctx context.Context, src, dst string) (info bucket.Info, err error) {
	err = x.do("copy", src, func() (err error) { info, err = x.w.bucket.Copy(ctx, src, dst); return err })
	return info, err
}

// Send implements otlpsend.Transport.
func (x *wire) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	switch dead, struck := x.strikes("forward", r.Header[frame.HeaderBatchID]); {
	case dead:
		return down()
	case !struck:
		return x.w.gateway.Send(ctx, r)
	}
	if x.when != before {
		x.w.gateway.Send(ctx, r)
	}
	if x.when == hang {
		<-ctx.Done()
	}
	return down()
}

// scene fills a bucket with one flare of every kind, and returns what stands in
// it.
type scene struct {
	forwarded []frame.Frame // must reach Kafka
	signed    []string      // ids that get a done marker
	rejected  string
	garbage   string
}

func (w *world) scene() scene {
	var s scene
	for _, agent := range []string{"acme/host-17", "globex/db-1"} {
		a, b := w.logs(agent, 2, agent), w.logs(agent, 1, agent)
		s.forwarded = append(s.forwarded, a, b)
		s.signed = append(s.signed, w.flare(agent, a, b))
	}
	s.signed = append(s.signed, w.drill(nil))
	s.rejected = w.rejected("globex/db-1")
	s.signed = append(s.signed, s.rejected)
	s.garbage = frame.RandomHex()
	w.put("f/"+s.garbage+".age", []byte("age-encryption.org/v1\nnot really"))
	w.guard(s)
	return s
}

// guard fails the test at the moment a flare is deleted that should not be.
func (w *world) guard(s scene) {
	inFlare := map[string][]frame.Frame{
		"f/" + s.signed[0] + ".age": s.forwarded[:2],
		"f/" + s.signed[1] + ".age": s.forwarded[2:],
	}
	copies := map[string]string{
		"f/" + s.rejected + ".age": "lifeline/quarantine/rejected/" + s.rejected + ".age",
		"f/" + s.garbage + ".age":  "lifeline/quarantine/malformed/" + s.garbage + ".age",
	}
	w.bucket.Seen = func(c bucket.Call) {
		if c.Op != "delete" || !c.Effect || !strings.HasPrefix(c.Key, "f/") || isProbe(c.Key) {
			return
		}
		for _, f := range inFlare[c.Key] {
			if w.gateway.times(f.BatchID) == 0 {
				w.t.Errorf("%s was deleted before %s was acked", c.Key, f.BatchID)
			}
		}
		if dst := copies[c.Key]; dst != "" && len(w.under(dst)) == 0 {
			w.t.Errorf("%s was deleted without a copy in quarantine", c.Key)
		}
		if id := c.Key[2:34]; id != s.garbage && len(w.under("lifeline/done/"+id)) == 0 {
			w.t.Errorf("%s was deleted without a marker", c.Key)
		}
	}
}

// denied refuses to hand out one object.
type denied struct {
	*bucket.Fake
	key string
}

func (d denied) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	if key == d.key {
		return nil, bucket.Info{}, &bucket.Error{Op: "get", Key: key, Kind: bucket.Denied, Code: "AccessDenied", Err: errDead.Err}
	}
	return d.Fake.Get(ctx, key, opts)
}
