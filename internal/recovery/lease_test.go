package recovery

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// replica is one of several processes on a bucket.
type replica struct {
	*Loop
	stop func() // and wait until it has
	wire *wire
}

// start starts a process that shares the bucket, over wires with faults.
func (w *world) start(faults ...func(x *wire)) *replica {
	x := &wire{w: w}
	for _, f := range faults {
		f(x)
	}
	set := w.set
	set.Lease, set.Bucket, set.Gateway.Transport = true, x, x
	set.Observer = Observer{} // it would be called by several processes
	l := New(set)
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	return &replica{Loop: l, wire: x, stop: func() { cancel(); wg.Wait() }}
}

// kill lets nothing of a process have an effect any more.
func (r *replica) kill() {
	r.wire.mu.Lock()
	r.wire.dead = true
	r.wire.mu.Unlock()
	r.stop()
}

// spread stores a flare of one record in every shard, n times.
func (w *world) spread(n int) {
	for range n {
		for digit := range shards {
			w.flareAs(fmt.Sprintf("%x", digit) + frame.RandomHex()[1:])
		}
	}
}

// onceEach asserts that every record reached Kafka exactly once.
func (w *world) onceEach(records int) {
	w.t.Helper()
	synctest.Wait()
	w.gateway.mu.Lock()
	defer w.gateway.mu.Unlock()
	require.Len(w.t, w.gateway.got, records)
	for id, n := range w.gateway.got {
		require.Equal(w.t, 1, n, id)
	}
	require.Empty(w.t, w.under("f/"))
	w.onlyOurs()
}

// Two replicas come to eight shards each, share the work, and no record goes
// twice; one that is told to stop gives its shards back at once.
func TestReplicasShareTheWork(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start()
		time.Sleep(time.Second)
		require.Equal(t, shards, a.Snapshot().Shards)
		b := w.start()
		time.Sleep(3 * leaseRenew)
		require.Equal(t, shards/2, a.Snapshot().Shards)
		require.Equal(t, shards/2, b.Snapshot().Shards)

		w.spread(4)
		time.Sleep(w.set.PollInterval + time.Second)
		require.EqualValues(t, 32, a.Snapshot().RecoveredFlares)
		require.EqualValues(t, 32, b.Snapshot().RecoveredFlares)
		w.onceEach(64)

		a.stop()
		require.Len(t, w.under("lifeline/lease/"), shards/2+1, "b's shards and its name")
		time.Sleep(leaseRenew + time.Second)
		require.Equal(t, shards, b.Snapshot().Shards)
		w.spread(1)
		time.Sleep(w.set.PollInterval + time.Second)
		w.onceEach(80)
		b.stop()
		require.Empty(t, w.under("lifeline/lease/"))
	})
}

// A replica that dies is replaced when its leases have expired, and not before.
func TestTakeover(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start()
		time.Sleep(time.Second)
		a.kill()
		died := time.Now()
		b := w.start()
		w.spread(2)
		time.Sleep(leaseTime - 2*time.Second)
		require.Zero(t, b.Snapshot().Shards)
		require.Zero(t, b.Snapshot().Pending, "the shards are somebody's, as far as can be known")
		time.Sleep(leaseRenew + w.set.PollInterval + 3*time.Second)
		require.Equal(t, shards, b.Snapshot().Shards)
		require.LessOrEqual(t, time.Since(died), 2*leaseTime)
		w.onceEach(32)
		b.stop()
	})
}

// All die, in the middle of the work; the next one takes over everything.
func TestBothCrash(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start(), w.start()
		time.Sleep(3 * leaseRenew)
		w.spread(4)
		w.gateway.count(func() {
			w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
				time.Sleep(time.Second)
				return otlpsend.Answer{}
			}
		})
		time.Sleep(w.set.PollInterval + 5*time.Second)
		synctest.Wait()
		w.gateway.count(func() { require.NotEmpty(t, w.gateway.got) })
		require.NotEmpty(t, w.under("f/"))
		var wg sync.WaitGroup
		wg.Go(a.kill)
		wg.Go(b.kill)
		wg.Wait()
		c := w.start()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Len(t, w.gateway.got, 64)
		require.Empty(t, w.under("f/"))
		twice := 0
		for id, n := range w.gateway.got {
			require.LessOrEqual(t, n, 2, id)
			if n == 2 {
				twice++
			}
		}
		require.LessOrEqual(t, twice, 2, "what was on its way when they died")
		c.stop()
	})
}

// A holder that was paused in the middle of a flare wakes up after another one
// took its shards over: the record may arrive twice, and nothing is lost.
func TestPausedHolder(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start()
		time.Sleep(time.Second)
		id := w.flareAs(strings.Repeat("a", 32))
		paused, wake := make(chan struct{}), make(chan struct{})
		var once sync.Once
		a.wire.mu.Lock()
		a.wire.pause = func(op, key string) {
			if op == "put" && key == "lifeline/done/"+id {
				once.Do(func() { close(paused) })
			}
			select {
			case <-paused: // every call of it from now on
				<-wake
			default:
			}
		}
		a.wire.mu.Unlock()
		<-paused
		b := w.start()
		time.Sleep(2*leaseTime + w.set.PollInterval)
		require.Empty(t, w.under("f/"), "b has taken it over")
		require.Len(t, w.under("lifeline/done/"+id), 1)
		close(wake)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Len(t, w.gateway.got, 1)
		for _, n := range w.gateway.got {
			require.Equal(t, 2, n)
		}
		require.Empty(t, w.under("f/"))
		require.Equal(t, shards, a.Snapshot().Shards+b.Snapshot().Shards)
		a.stop()
		b.stop()
	})
}

// The fault table of the leases: every call of a renewal fails before or after
// its effect, or hangs. The shards stay with somebody, and no record goes twice.
func TestLeaseFaults(t *testing.T) {
	for _, c := range []struct{ name, op, key string }{
		{"list leases", "list", "lifeline/lease/"},
		{"put name", "put", "lifeline/lease/"},
		{"put lease", "put", "lifeline/lease/7"},
		{"put probe", "put", "lifeline/lease/probe-"},
		{"delete probe", "delete", "lifeline/lease/probe-"},
	} {
		for when, name := range moments {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					a := w.start(func(x *wire) {
						x.when, x.left, x.match = when, 2, func(_ int, op, key string) bool {
							return op == c.op && strings.HasPrefix(key, c.key) && (c.key != "lifeline/lease/" || frame.IsHex32(key[len(c.key):]) || op == "list")
						}
					})
					for range 8 {
						w.spread(1)
						time.Sleep(time.Minute)
					}
					synctest.Wait()
					require.Equal(t, 2, a.wire.struck, "the fault never struck")
					require.Equal(t, shards, a.Snapshot().Shards)
					require.NoError(t, a.Snapshot().PathError)
					w.onceEach(8 * shards)
					a.stop()
				})
			})
		}
	}
}

// careless is a store that does not know conditional writes.
type careless struct{ *bucket.Fake }

func (c careless) Put(ctx context.Context, key string, body frame.Body, _ bucket.PutOptions) (bucket.Info, error) {
	return c.Fake.Put(ctx, key, body, bucket.PutOptions{})
}

// A store that ignores conditions is no base for leases: nothing is forwarded,
// and the error says what to do.
func TestLeasesNeedConditions(t *testing.T) {
	inWorld(t, func(w *world) {
		w.spread(1)
		w.set.Bucket, w.set.Lease = careless{w.bucket}, true
		l := w.run(time.Hour)
		require.ErrorContains(t, l.Snapshot().PathError, "set lease: false")
		require.Empty(t, w.gateway.requests)
		require.Len(t, w.under("f/"), shards)
	})
}

// A process without keys leaves the shards to others.
func TestNoKeysNoShards(t *testing.T) {
	inWorld(t, func(w *world) {
		keys := w.keys
		w.keys = nil
		a := w.start()
		time.Sleep(time.Minute)
		require.Zero(t, a.Snapshot().Shards)
		require.Empty(t, w.under("lifeline/lease/"))
		w.spread(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, shards, a.Snapshot().Pending, "nobody works on them, so everybody shows them")
		a.state.Lock()
		w.keys = keys
		a.state.Unlock()
		time.Sleep(leaseRenew + w.set.PollInterval)
		w.onceEach(shards)
		a.stop()
	})
}

// What could not be given back is known again by its holder, who need not wait
// until it expires.
func TestLeasesThatCannotBeGivenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.Lease = true
		x := &broken{Bucket: w.bucket, kind: bucket.Denied, fails: func(op, key string) bool {
			return op == "delete" && strings.HasPrefix(key, "lifeline/lease/") && !strings.Contains(key, "probe")
		}}
		w.set.Bucket = x
		l := New(w.set)
		w.resume(l, time.Second)
		require.Equal(t, shards+1, x.struck)
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.resume(l, time.Second)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// Of the flares of one boot each replica takes some. What another one took is not
// missing; what nobody took is, from the second hour on.
func TestNothingIsMissingBetweenReplicas(t *testing.T) {
	inWorld(t, func(w *world) {
		a, b := w.start(), w.start()
		time.Sleep(3 * leaseRenew)
		hour := func() {
			for range 60 {
				w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
				time.Sleep(time.Minute)
				for _, r := range []*replica{a, b} {
					require.Zero(t, r.Snapshot().SeqGaps)
				}
			}
		}
		for range 3 {
			hour()
		}
		require.NotZero(t, a.Snapshot().RecoveredFlares)
		require.NotZero(t, b.Snapshot().RecoveredFlares)
		w.seqs["acme/host-17"]++ // a stranger deletes it
		hour()
		time.Sleep(2 * time.Hour)
		for _, r := range []*replica{a, b} {
			require.EqualValues(t, 1, r.Snapshot().SeqGaps)
			r.stop()
		}
	})
}
