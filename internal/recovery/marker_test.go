package recovery

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// An answer that is another object's, where none is, has no flare deleted that was not
// taken; what is no marker is believed if it stays.
func TestWrongMarkerOnTheWay(t *testing.T) {
	for name, wrong := range map[string]string{"a stranger": "not a marker", "another flare's": ""} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				other := w.flare("acme/host-17", w.logs("acme/host-17", 1, "other"))
				w.run(time.Minute)
				data, _, err := w.bucket.Get(t.Context(), "lifeline/done/"+other, bucket.GetOptions{Limit: maxMarker})
				require.NoError(t, err)
				if wrong != "" {
					data = []byte(wrong)
				}
				f := w.logs("acme/host-17", 1, "good")
				id := w.flare("acme/host-17", f)
				x := &crossed{Bucket: w.bucket, key: "lifeline/done/" + id, data: data}
				w.set.Bucket = x
				w.run(5 * time.Minute)
				require.True(t, x.struck)
				require.Equal(t, 1, w.gateway.got[f.BatchID])
				require.Equal(t, []string{"recovered", "recovered"}, w.states())

				by := w.flare("acme/host-17", w.logs("acme/host-17", 1, "a person has it"))
				w.put("lifeline/done/"+by, data)
				w.run(time.Minute)
				require.Len(t, w.states(), 2)
				require.Empty(t, w.under("f/"))
			})
		})
	}
}

// crossed answers one fetch of a key with what another one is to get.
type crossed struct {
	bucket.Bucket
	key    string
	data   []byte
	struck bool
}

func (c *crossed) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	if key == c.key && !c.struck {
		c.struck = true
		return c.data, bucket.Info{Key: key, ETag: "x"}, nil
	}
	return c.Bucket.Get(ctx, key, opts)
}

// A process that starts with many markers in done/ says nothing of missing flares
// before it has read them all, and none is missing because the store was busy.
func TestNoFlareIsMissingBeforeAllMarkersAreRead(t *testing.T) {
	inWorld(t, func(w *world) {
		for range maxReads + 50 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		}
		w.run(10 * time.Minute)
		require.Len(t, w.under("lifeline/done/"), maxReads+50)
		x := &broken{Bucket: w.bucket, kind: bucket.Throttled}
		x.fails = func(op, key string) bool {
			return op == "get" && strings.HasPrefix(key, "lifeline/done/") && !isProbe(key) && x.struck < 3
		}
		w.set.Bucket = x
		l := New(w.set)
		for range 10 {
			w.resume(l, time.Second)
			require.Zero(t, l.Snapshot().SeqGaps)
			w.resume(l, time.Minute)
			require.Zero(t, l.Snapshot().SeqGaps)
		}
		require.Equal(t, 3, x.struck)
	})
}

// A marker that the store never hands out ends no count of the others.
func TestAMarkerThatIsNeverHandedOut(t *testing.T) {
	inWorld(t, func(w *world) {
		for range 3 {
			w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		}
		w.run(time.Minute)
		lost := w.under("lifeline/done/")[1]
		x := &broken{Bucket: w.bucket, kind: bucket.Unknown, fails: func(op, key string) bool {
			return op == "get" && key == "lifeline/done/"+lost
		}}
		w.set.Bucket = x
		l := New(w.set)
		w.resume(l, 30*time.Minute)
		require.Equal(t, maxRefusals, x.struck)
		require.True(t, l.Snapshot().AllRead)
	})
}

// What was forwarded is written down also when Run is told to stop just then, before
// or after the store has done it, and is no trouble to tell.
func TestStoppedBetweenAckAndMarker(t *testing.T) {
	for _, prefix := range []string{"lifeline/done/", "f/"} {
		for name, when := range map[string]moment{"before": before, "after": hang} {
			t.Run(prefix+" "+name, func(t *testing.T) {
				inWorld(t, func(w *world) {
					id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
					ctx, cancel := context.WithCancel(w.t.Context())
					defer cancel()
					x := &wire{w: w, when: when, left: 1, match: func(_ int, op, key string) bool {
						return op != "get" && strings.HasPrefix(key, prefix+id)
					}}
					if when == before {
						match := x.match
						x.match = nil
						x.pause = func(op, key string) {
							if match(0, op, key) {
								x.struck++
								cancel()
							}
						}
					}
					w.set.Bucket = x
					l := New(w.set)
					var loop sync.WaitGroup
					loop.Go(func() { l.Run(ctx) })
					time.Sleep(time.Second)
					cancel()
					loop.Wait()
					require.Positive(t, x.struck, "the fault never struck")
					require.Equal(t, []string{"recovered"}, w.states())
					require.Empty(t, w.under("f/"))
					require.Equal(t, []string{id}, w.under("lifeline/done/"))
					require.NoError(t, l.Snapshot().PathError)
				})
			})
		}
	}
}
