package recovery

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// broken is a bucket whose calls fail without effect when fails says so.
type broken struct {
	bucket.Bucket
	fails  func(op, key string) bool
	kind   bucket.Kind
	code   string
	struck int
}

func (b *broken) err(op, key string) error {
	if !b.fails(op, key) {
		return nil
	}
	b.struck++
	return &bucket.Error{Op: op, Key: key, Kind: b.kind, Code: b.code, Err: fmt.Errorf("injected")}
}

func (b *broken) Put(ctx context.Context, key string, body frame.Body, o bucket.PutOptions) (bucket.Info, error) {
	if err := b.err("put", key); err != nil {
		return bucket.Info{}, err
	}
	return b.Bucket.Put(ctx, key, body, o)
}

func (b *broken) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	if err := b.err("get", key); err != nil {
		return nil, bucket.Info{}, err
	}
	return b.Bucket.Get(ctx, key, opts)
}

func (b *broken) Delete(ctx context.Context, key string) (bucket.Info, error) {
	if err := b.err("delete", key); err != nil {
		return bucket.Info{}, err
	}
	return b.Bucket.Delete(ctx, key)
}

func (b *broken) Copy(ctx context.Context, src, dst string) (bucket.Info, error) {
	if err := b.err("copy", src); err != nil {
		return bucket.Info{}, err
	}
	return b.Bucket.Copy(ctx, src, dst)
}

// flareIn seals and stores a flare of one record in a folder.
func (w *world) flareIn(folder, agent string, f frame.Frame) {
	m, data := w.seal(agent, nil, f)
	w.put("f/"+folder+m.FlareID+".age", data)
}

// More junk than one pass takes on, and a quarantine that is full: an honest
// flare behind it is recovered, and the bucket is not listed without a pause.
func TestJunkThatStays(t *testing.T) {
	inWorld(t, func(w *world) {
		w.set.QuarantineMaxBytes = 100
		for range maxVisits {
			w.put(flare.Key("f/", frame.RandomHex()), bytes.Repeat([]byte("x"), 200))
		}
		time.Sleep(time.Minute)
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "honest"))
		l := New(w.set)
		w.resume(l, 10*time.Minute)
		require.Len(t, w.gateway.got, 1)
		require.Equal(t, map[string]int{"copy": maxVisits}, l.Snapshot().Stuck)
		require.Less(t, l.round.n, uint64(25))
	})
}

// Without keys nothing can be done about any number of flares: no hot loop.
func TestNoHotLoopWithoutProgress(t *testing.T) {
	inWorld(t, func(w *world) {
		w.keys = nil
		for range maxVisits + 1 {
			w.put(flare.Key("f/", frame.RandomHex()), nil)
		}
		l := New(w.set)
		w.resume(l, 5*time.Minute)
		require.LessOrEqual(t, l.round.n, uint64(11))
	})
}

// A flare that breaks the path does it after all others, also when it is alone
// in its folder.
func TestPathBreakerComesLast(t *testing.T) {
	inWorld(t, func(w *world) {
		bad := w.logs("globex/db-1", 1, "refused by a proxy")
		w.flareIn("globex/", "globex/db-1", bad)
		for range 60 {
			w.flareIn("acme/", "acme/host-17", w.logs("acme/host-17", 1, "honest"))
		}
		struck := 0
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if r.Header[frame.HeaderBatchID] == string(bad.BatchID) {
				struck++
				return otlpsend.Answer{Verdict: otlpsend.Broken, Err: fmt.Errorf("431")}
			}
			return otlpsend.Answer{}
		}
		w.run(2 * time.Minute)
		require.Positive(t, struck)
		require.Empty(t, w.under("f/acme/"))
		require.Len(t, w.under("f/globex/"), 1)
	})
}

// The turns of folders come before the cut.
func TestFloodInOneFolder(t *testing.T) {
	found := &listing{}
	for i := range 3 * maxVisits {
		found.addFresh(object{Info: bucket.Info{Key: fmt.Sprintf("f/flood/%05d.age", i), LastModified: time.Unix(int64(i), 0)}})
	}
	found.addFresh(object{Info: bucket.Info{Key: "f/honest/1.age", LastModified: time.Unix(1<<20, 0)}})
	turns := found.turns()
	require.Len(t, turns, maxVisits)
	require.True(t, found.more)
	require.Equal(t, "f/honest/1.age", turns[1].Key)
}

// Objects that wait are looked at in rotation, a bounded number in each pass.
func TestRelooksRotate(t *testing.T) {
	found := &listing{}
	for i := range 3 * maxRelooks {
		found.addRelook(object{Info: bucket.Info{Key: fmt.Sprintf("f/%05d.age", i)}, looked: uint64(3*maxRelooks - i)})
	}
	turns := found.turns()
	require.Len(t, turns, maxRelooks)
	require.EqualValues(t, 1, turns[0].looked)
	require.False(t, found.more, "a pass later is soon enough")
}

// While no marker can be written, one flare is forwarded and no other.
func TestOneFlareWithoutMarker(t *testing.T) {
	for _, kind := range []bucket.Kind{bucket.Unknown, bucket.Denied} {
		inWorld(t, func(w *world) {
			for range 10 {
				w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
			}
			x := &broken{Bucket: w.bucket, kind: kind, fails: func(op, key string) bool {
				return op == "put" && len(key) == len("lifeline/done/")+32
			}}
			w.set.Bucket = x
			l := New(w.set)
			w.resume(l, time.Hour)
			require.Greater(t, x.struck, 10)
			require.Len(t, w.gateway.requests, 1)
			x.fails = func(string, string) bool { return false }
			w.resume(l, time.Minute)
			require.Len(t, w.gateway.requests, 10)
			require.Empty(t, w.under("f/"))
		})
	}
}

// An ack of one signal proves nothing about the records of another.
func TestAcksProveTheirOwnSignalOnly(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("globex/db-1", w.logs("globex/db-1", 1, "logs"), w.logs("globex/db-1", 1, "more"))
		other := w.logs("acme/host-17", 1, "as traces")
		other.Signal = frame.Traces
		w.flare("acme/host-17", other)
		fixed := false
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if r.Signal == frame.Logs && !fixed {
				return badData()
			}
			return otlpsend.Answer{}
		}
		l := New(w.set)
		w.resume(l, 5*time.Minute)
		require.ElementsMatch(t, []string{"waiting refused", "recovered"}, w.states())
		fixed = true
		w.resume(l, time.Minute)
		require.ElementsMatch(t, []string{"waiting refused", "recovered", "recovered"}, w.states())
	})
}

// While a gateway refuses everything, one flare asks whether it still does; when
// it does not, all are recovered.
func TestOneProbeWhileAllIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 20 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "fine"))
		}
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer { return badData() }
		l := New(w.set)
		w.resume(l, time.Minute)
		require.Equal(t, map[string]int{reasonDoubt: 20}, l.Snapshot().Waiting)
		before := len(w.gateway.requests)
		w.resume(l, 15*time.Minute)
		sent := w.gateway.requests[before:]
		require.InDelta(t, 30, len(sent), 2)
		asked := map[string]bool{}
		for _, r := range sent {
			asked[r.Header[frame.HeaderBatchID]] = true
		}
		require.Len(t, asked, 20, "they take turns: one of them may be bad indeed")

		w.gateway.answer = nil
		w.resume(l, 2*w.set.PollInterval)
		require.Empty(t, w.under("f/"))
		require.Len(t, w.gateway.got, 20)
	})
}

// Keys that are no flare's cost no memory, and are told once.
func TestForeignKeysAreCounted(t *testing.T) {
	inWorld(t, func(w *world) {
		for i := range 500 {
			w.put(fmt.Sprintf("f/%03d.txt", i), nil)
		}
		l := New(w.set)
		w.resume(l, 10*time.Minute)
		require.Equal(t, map[string]int{"foreign": 500}, l.Snapshot().Waiting)
		require.Empty(t, l.memos)
		require.Equal(t, []string{"waiting foreign"}, w.states())
		require.ErrorContains(t, w.events[0].Err, "one of 500 objects")
		for i := range 500 {
			_, err := w.bucket.Delete(t.Context(), fmt.Sprintf("f/%03d.txt", i))
			require.NoError(t, err)
		}
		w.resume(l, time.Minute)
		require.Empty(t, l.Snapshot().Waiting)
	})
}

// A store that says a flare is gone when it is to be copied may be wrong: it is
// not deleted.
func TestCopyFindsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.put(flare.Key("f/", frame.RandomHex()), []byte("bad, but there"))
		x := &broken{Bucket: w.bucket, kind: bucket.NotFound, fails: func(op, _ string) bool { return op == "copy" }}
		w.set.Bucket = x
		l := New(w.set)
		w.resume(l, time.Minute)
		require.Positive(t, x.struck)
		require.Len(t, w.under("f/"), 1)
		require.Empty(t, w.states())
		x.fails = func(string, string) bool { return false }
		w.resume(l, time.Minute)
		require.Equal(t, []string{"quarantined malformed"}, w.states())
		require.Empty(t, w.under("f/"))
	})
}

// spoiled alters what Get returns when spoils says so.
type spoiled struct {
	bucket.Bucket
	spoils func(key string) bool
	struck int
}

func (b *spoiled) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	data, info, err := b.Bucket.Get(ctx, key, opts)
	if err == nil && b.spoils(key) {
		b.struck++
		data[b.struck*len(data)/20] ^= 1 << (b.struck % 8)
	}
	return data, info, err
}

// A store or a proxy that hands out wrong bytes for a while condemns no flare:
// what is bad must be bad twice, in the same way.
func TestWrongBytesOnTheWay(t *testing.T) {
	for _, times := range []int{1, 2, 7} {
		inWorld(t, func(w *world) {
			f := w.logs("acme/host-17", 1, "good")
			w.flare("acme/host-17", f)
			x := &spoiled{Bucket: w.bucket}
			x.spoils = func(key string) bool { return strings.HasPrefix(key, "f/") && x.struck < times }
			w.set.Bucket = x
			l := w.run(10 * time.Minute)
			require.Equal(t, times, x.struck)
			require.Equal(t, []string{"recovered"}, w.states())
			require.Equal(t, 1, w.gateway.got[f.BatchID])
			require.Equal(t, []string{"probe"}, w.under("lifeline/quarantine/"))
			require.NoError(t, l.Snapshot().PathError)
			require.Len(t, w.paths, 2, "a store that does this is an alarm")
		})
	}
}

// Flares that others take between the listing and the fetch, and between the two
// readings of a bad one, are no fault of anybody.
func TestVanishing(t *testing.T) {
	inWorld(t, func(w *world) {
		bad := flare.Key("f/", frame.RandomHex())
		w.put(bad, []byte("not a flare"))
		for range 20 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "gone"))
		}
		time.Sleep(time.Second)
		f := w.logs("acme/host-17", 1, "stays")
		last := flare.Key("f/", w.flare("acme/host-17", f))
		gone := 0
		w.bucket.Seen = func(c bucket.Call) {
			switch {
			case c.Op == "get" && c.Key == bad && c.Effect:
				gone++
				_, err := w.bucket.Delete(t.Context(), bad)
				require.NoError(t, err)
			case c.Op == "list" && c.Key == "f/" && gone == 0:
				for _, key := range w.under("f/") {
					if "f/"+key != bad && "f/"+key != last {
						gone++
						_, err := w.bucket.Delete(t.Context(), "f/"+key)
						require.NoError(t, err)
					}
				}
			}
		}
		l := w.run(5 * time.Minute)
		require.Equal(t, 21, gone)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Equal(t, map[frame.BatchID]int{f.BatchID: 1}, w.gateway.got)
		require.Zero(t, l.Snapshot().Pending)
		require.NoError(t, l.Snapshot().PathError)
		require.Equal(t, []string{"probe"}, w.under("lifeline/quarantine/"))
	})
}
