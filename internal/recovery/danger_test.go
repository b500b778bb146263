package recovery

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// watchedBody tells when a record is read to be decoded.
type watchedBody struct {
	frame.Body
	read func()
}

func (b watchedBody) WriteTo(w io.Writer) (int64, error) {
	b.read()
	return b.Body.WriteTo(w)
}

// watchedOpener is an Opener whose flares tell when they are decoded.
type watchedOpener struct {
	Opener
	read func()
}

func (o watchedOpener) Open(obj flare.Object, data []byte) (*flare.Flare, error) {
	fl, err := o.Opener.Open(obj, data)
	if err == nil {
		for i := range fl.Frames {
			fl.Frames[i].Stored = watchedBody{fl.Frames[i].Stored, o.read}
		}
	}
	return fl, err
}

// A small drill that would need gigabytes when it is decoded is not decoded.
func TestDrillBomb(t *testing.T) {
	raw := bytes.Repeat([]byte{0x0a, 0x00}, maxDrill/2+1)
	var stored bytes.Buffer
	require.NoError(t, otlpcodec.Compress(&stored, raw))
	inWorld(t, func(w *world) {
		w.drill(func(f *frame.Frame) {
			f.RawSize, f.Stored = int64(len(raw)), frame.Bytes(stored.Bytes())
		})
		decoded := 0
		w.keys.Opener = watchedOpener{w.keys.Opener, func() { decoded++ }}
		w.run(time.Minute)
		require.Equal(t, []string{"quarantined bad_drill"}, w.states())
		require.Zero(t, decoded)
	})
}

// Whatever decodes telemetry does it while a try marker says so.
func TestDecodedUnderAMarker(t *testing.T) {
	for _, name := range []string{"drill", "split"} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				decoded := 0
				w.keys.Opener = watchedOpener{w.keys.Opener, func() {
					decoded++
					require.Len(t, w.under("lifeline/try/"), 1)
				}}
				if name == "drill" {
					w.drill(nil)
				} else {
					f := w.logs("acme/host-17", 2, "x")
					w.flare("acme/host-17", f)
					w.gateway.answer = tooLarge(f.RawSize)
				}
				w.run(time.Minute)
				require.Equal(t, 1, decoded)
				require.Empty(t, w.under("lifeline/try/"))
				require.Empty(t, w.under("f/"))
			})
		})
	}
}

func tooLarge(size int64) func(context.Context, *otlpsend.Request) otlpsend.Answer {
	return func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
		if r.RawSize >= size {
			return otlpsend.Answer{Verdict: otlpsend.TooLarge, Err: errDead}
		}
		return otlpsend.Answer{}
	}
}

// A flare that opens well and kills every process that splits it is put away
// after three of them.
func TestPoisonToSplit(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 2, "deadly")
		id := w.flare("acme/host-17", f)
		w.gateway.answer = tooLarge(f.RawSize)
		for n := range maxTries {
			x := &wire{w: w, when: after, left: 1, dies: true, match: func(_ int, op, key string) bool {
				return op == "put" && strings.HasPrefix(key, "lifeline/try/"+id+".s")
			}}
			w.set.Bucket, w.set.Gateway.Transport = x, x
			w.run(time.Second)
			require.True(t, x.dead)
			require.Len(t, w.under("lifeline/try/"), n+1)
		}
		w.set.Bucket, w.set.Gateway.Transport = w.bucket, w.gateway
		w.run(2 * time.Minute)
		require.Equal(t, []string{"quarantined poison"}, w.states())
		require.Empty(t, w.under("lifeline/try/"))
		require.Empty(t, w.gateway.got)
	})
}

// A process that lives is not taken for a dead one because it did not learn that
// its markers were written.
func TestMarkersOfASplitWithoutAnAnswer(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 2, "x")
		id := w.flare("acme/host-17", f)
		w.gateway.answer = tooLarge(f.RawSize)
		x := &wire{w: w, when: after, left: maxTries + 1, match: func(_ int, op, key string) bool {
			return op == "put" && strings.HasPrefix(key, "lifeline/try/"+id+".s")
		}}
		w.set.Bucket = x
		w.run(5 * time.Minute)
		require.Equal(t, x.left, x.struck)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Empty(t, w.under("lifeline/try/"))
	})
}

// slowMarker is a bucket in which the first marker of a split takes long to write.
type slowMarker struct {
	bucket.Bucket
	left [][]string // try markers that were there when a flare was deleted
	w    *world
}

func (s *slowMarker) Put(ctx context.Context, key string, body frame.Body, opts bucket.PutOptions) (bucket.Info, error) {
	if strings.HasSuffix(key, ".s1") {
		sleep(ctx, time.Second)
	}
	return s.Bucket.Put(ctx, key, body, opts)
}

func (s *slowMarker) Delete(ctx context.Context, key string) (bucket.Info, error) {
	if _, id := flare.KeyID("f/", key); id {
		s.left = append(s.left, s.w.under("lifeline/try/"))
	}
	return s.Bucket.Delete(ctx, key)
}

// Records of one flare that are split at the same time leave no marker behind.
func TestSplitsSideBySide(t *testing.T) {
	inWorld(t, func(w *world) {
		const agent = "acme/host-17"
		small := w.logs(agent, 1, "x")
		w.flare(agent, small, w.logs(agent, 1, "x"), w.logs(agent, 1, "x"), w.logs(agent, 2, "x"), w.logs(agent, 2, "x"))
		w.gateway.answer = tooLarge(small.RawSize + 1)
		w.set.Gateway.Senders = 4
		s := &slowMarker{Bucket: w.bucket, w: w}
		w.set.Bucket = s
		w.run(time.Minute)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Equal(t, 4, w.gateway.splits())
		require.Equal(t, [][]string{nil}, s.left)
	})
}

// An ack proves a refusal only if it came before the server refused: not if it came
// while the refused record was cut.
func TestAnAckDuringTheCutProvesNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		const agent = "acme/host-17"
		first, one, other := w.logs(agent, 1, "x"), w.logs(agent, 1, "x"), w.logs(agent, 1, "x")
		first.Signal = frame.Traces
		w.flare(agent, first, one, other)
		var mu sync.Mutex
		attempts := map[frame.BatchID]int{} // mu guards it
		w.gateway.answer = func(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
			id := frame.BatchID(r.Header[frame.HeaderBatchID])
			mu.Lock()
			attempts[id]++
			attempt := attempts[id]
			mu.Unlock()
			switch {
			case id == one.BatchID && attempt <= 2:
				return otlpsend.Answer{Verdict: otlpsend.TooLarge, Err: errDead}
			case id == other.BatchID && attempt == 1:
				return otlpsend.Answer{Verdict: otlpsend.BadData, Err: errDead}
			case id == other.BatchID:
				sleep(ctx, time.Second/2) // so that the cut has begun, and takes half a second more
			}
			return otlpsend.Answer{}
		}
		w.set.Gateway.Senders = 4
		w.set.Gateway.Transport = narrow{w.gateway, 4}
		w.set.Bucket = &slowMarker{Bucket: w.bucket, w: w}
		w.run(2 * time.Minute)
		require.Equal(t, []string{"waiting refused", "recovered"}, w.states())
		require.Equal(t, map[frame.BatchID]int{first.BatchID: 1, one.BatchID: 3, other.BatchID: 2}, attempts)
	})
}

// splits counts the halves that arrived.
func (g *gateway) splits() (n int) {
	for id := range g.got {
		if id != id.Root() {
			n++
		}
	}
	return n
}

// What was worked on beside a flare that kills is a suspect too, and is opened
// alone from then on: only the one that kills ends as poison.
func TestNeighboursOfPoison(t *testing.T) {
	inWorld(t, func(w *world) {
		const agent = "acme/host-17"
		w.set.Flares = 4
		for range 12 {
			w.flare(agent, w.logs(agent, 1, "good"))
		}
		deadly := strings.Repeat("f", 32) // the last one of its second
		_, data := w.seal(agent, func(m *flare.Manifest) { m.FlareID = deadly }, w.logs(agent, 1, "deadly"))
		w.put(flare.Key("f/", deadly), data)
		w.bucket.Seen = func(c bucket.Call) {
			switch {
			case c.Op == "get" && strings.HasPrefix(c.Key, "f/"):
				time.Sleep(time.Second)
			case c.Op == "put" && strings.HasPrefix(c.Key, "lifeline/try/"+deadly):
				time.Sleep(time.Second / 2) // the others are in the middle of it
			}
		}
		for n := range maxTries {
			x := &wire{w: w, when: before, left: 1, dies: true, match: func(_ int, op, key string) bool {
				return op == "get" && key == flare.Key("f/", deadly)
			}}
			w.set.Bucket, w.set.Gateway.Transport = x, x
			w.run(time.Minute)
			require.True(t, x.dead)
			if n == 0 {
				require.Len(t, w.under("lifeline/try/"), w.set.Flares, "it died with three others beside it")
			} else {
				require.Len(t, w.under("lifeline/try/"), n+1)
			}
		}
		w.set.Bucket, w.set.Gateway.Transport = w.bucket, w.gateway
		w.run(time.Minute)
		require.Len(t, w.gateway.got, 12)
		require.Equal(t, []string{"poison/" + deadly + ".age", "probe"}, w.under("lifeline/quarantine/"))
		require.Empty(t, w.under("lifeline/try/"))
	})
}

// A marker that was left behind does not hide that processes die.
func TestDeadlyBesideAnOldMarker(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.put("lifeline/try/"+id+".2", nil)
		for range maxTries {
			x := &wire{w: w, dies: true, left: 1, match: func(_ int, op, key string) bool { return op == "get" && key == flare.Key("f/", id) }}
			w.set.Bucket = x
			w.run(time.Second)
		}
		w.set.Bucket = w.bucket
		w.run(time.Minute)
		require.Equal(t, []string{"quarantined poison"}, w.states())
	})
}

// However often a process opens a flare and cannot remove its markers, it leaves one.
func TestOneMarkerOfAProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		id := w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.put("lifeline/try/"+id+".2", nil)
		opened := 0
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
			opened++
			return down()
		}
		x := &broken{Bucket: w.bucket, kind: bucket.Unknown, fails: func(op, key string) bool {
			return op == "delete" && strings.HasPrefix(key, "lifeline/try/"+id)
		}}
		w.set.Bucket = x
		w.run(10 * time.Minute)
		require.Greater(t, opened, 10)
		require.Greater(t, x.struck, 10)
		require.Len(t, w.under("lifeline/try/"), 2, "the old one, and its own")

		w.set.Bucket, w.gateway.answer = w.bucket, nil
		w.run(time.Minute)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Empty(t, w.under("lifeline/try/"))
	})
}
