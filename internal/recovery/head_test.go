package recovery

import (
	"bytes"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// metered counts what is read of the objects under f/, and can alter what the
// next look at one of them shows first.
type metered struct {
	bucket.Bucket
	read   []int // bytes, by look
	alters int   // looks
}

func (b *metered) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	if !strings.HasPrefix(key, "f/") {
		return b.Bucket.Get(ctx, key, opts)
	}
	altered, need := b.alters > 0, opts.Need
	b.alters--
	opts.Need = func(read []byte) int64 {
		if altered && len(read) > 0 {
			read[0] ^= 1
		}
		return need(read)
	}
	data, info, err := b.Bucket.Get(ctx, key, opts)
	b.read = append(b.read, len(data))
	return data, info, err
}

// metering runs f in a new world that counts what is read.
func metering(t *testing.T, f func(w *world, x *metered)) {
	t.Helper()
	inWorld(t, func(w *world) {
		x := &metered{Bucket: w.bucket}
		w.set.Bucket = x
		f(w, x)
	})
}

// large returns a frame that no flare of HeadSize holds.
func (w *world) large() frame.Frame {
	var body strings.Builder
	for body.Len() < 4*flare.HeadSize {
		body.WriteString(frame.RandomHex())
	}
	return w.logs("acme/host-17", 1, body.String())
}

// TestTheHeadIsEnough: of an object that fails a check in front of its records
// recovery fetches the beginning and no more, as often as it looks at it.
func TestTheHeadIsEnough(t *testing.T) {
	const head = flare.HeadSize
	for _, c := range []struct {
		reason string
		start  func(w *world)
	}{
		{flare.Malformed, func(w *world) { w.put(flare.Key("f/", frame.RandomHex()), make([]byte, 8<<20)) }},
		{flare.IDMismatch, func(w *world) {
			_, data := w.seal("acme/host-17", nil, w.large())
			w.put(flare.Key("f/", frame.RandomHex()), data)
		}},
		{flare.RevokedKey, func(w *world) {
			w.flare("acme/host-17", w.large())
			w.keysWith(func(_ *Keys, o *flare.Opener) {
				var err error
				o.Revoked, err = flare.ParseRevoked(strings.NewReader("principal:acme/host-17\n"))
				require.NoError(t, err)
			})
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			metering(t, func(w *world, x *metered) {
				c.start(w)
				w.run(time.Minute)
				require.Equal(t, []int{head, head}, x.read, "it is looked at twice before it is put away")
				require.Equal(t, []string{"quarantined " + c.reason}, w.states())
			})
		})
	}
	for _, c := range slices.Concat(notTrusted(), notYet()) {
		if c.state == "" {
			continue // it is not looked at
		}
		t.Run(c.name, func(t *testing.T) {
			metering(t, func(w *world, x *metered) {
				f := w.large()
				heal := c.start(w, f)
				size := len(w.bytes("f/" + w.under("f/")[0]))
				l := w.run(24 * time.Hour)
				require.Greater(t, len(x.read), 20, "once an hour")
				require.Equal(t, slices.Repeat([]int{min(head, size)}, len(x.read)), x.read)
				require.Equal(t, []string{c.state}, w.states())

				heal()
				w.resume(l, c.soon)
				require.Equal(t, size, x.read[len(x.read)-1])
				require.Equal(t, []string{c.state, "recovered"}, w.states())
				require.Equal(t, 1, w.gateway.got[f.BatchID])
			})
		})
	}
}

// TestTheHeadIsAlteredOnTheWay: bytes that differ when they are looked at again
// condemn the store, not the flare.
func TestTheHeadIsAlteredOnTheWay(t *testing.T) {
	metering(t, func(w *world, x *metered) {
		x.alters = 1
		f := w.large()
		data := w.bytes(flare.Key("f/", w.flare("acme/host-17", f)))
		w.run(10 * time.Minute)
		require.Equal(t, []int{flare.HeadSize, flare.HeadSize, len(data)}, x.read)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Equal(t, 1, w.gateway.got[f.BatchID])
		require.Len(t, w.paths, 2)
	})
}

// TestCutOffInTheHead: bytes that end where the head does are no flare.
func TestCutOffInTheHead(t *testing.T) {
	inWorld(t, func(w *world) {
		m, data := w.seal("acme/host-17", nil, w.large())
		w.put(flare.Key("f/", m.FlareID), bytes.Clone(data[:flare.HeadSize+1]))
		w.run(time.Minute)
		require.Equal(t, []string{"quarantined malformed"}, w.states())
	})
}

// shortened hands out less of the next flare than there is.
type shortened struct {
	bucket.Bucket
	struck int
}

func (b *shortened) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	data, info, err := b.Bucket.Get(ctx, key, opts)
	if strings.HasPrefix(key, "f/") && b.struck == 0 {
		b.struck++
		data = data[:len(data)-1]
	}
	return data, info, err
}

// TestCutOffOnTheWay: an answer that ended too early without anybody noticing
// condemns no flare: the second look is at the whole.
func TestCutOffOnTheWay(t *testing.T) {
	inWorld(t, func(w *world) {
		x := &shortened{Bucket: w.bucket}
		w.set.Bucket = x
		f := w.large()
		w.flare("acme/host-17", f)
		w.run(10 * time.Minute)
		require.Equal(t, 1, x.struck)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Equal(t, 1, w.gateway.got[f.BatchID])
		require.Len(t, w.paths, 2)
	})
}

// TestMemoryIsGivenBackForWhatWasRead: the memory of a large object is given back
// at once, which stops the process for a moment, and there is none to give back of
// one of which the beginning was enough.
func TestMemoryIsGivenBackForWhatWasRead(t *testing.T) {
	collections := func(fill func(w *world)) (n uint32) {
		inWorld(t, func(w *world) {
			fill(w)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			w.run(time.Minute)
			runtime.ReadMemStats(&after)
			require.Len(t, w.events, 1)
			n = after.NumForcedGC - before.NumForcedGC
		})
		return n
	}
	noise := make([]byte, largeObject+1<<20)
	_, err := rand.NewChaCha8([32]byte{1}).Read(noise)
	require.NoError(t, err)
	large := func(w *world, agent string) {
		var frames []frame.Frame
		for piece := range slices.Chunk(noise, 1<<20) {
			ld := plog.NewLogs()
			ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetEmptyBytes().FromRaw(piece)
			frames = append(frames, w.frameOf(agent, ld))
		}
		w.flare(agent, frames...)
	}
	require.EqualValues(t, 2, collections(func(w *world) { large(w, "acme/host-17") }), "the sealed bytes, the records")
	require.Zero(t, collections(func(w *world) { large(w, "evil/host-1") }))
	require.Zero(t, collections(func(w *world) { w.put(flare.Key("f/", frame.RandomHex()), noise) }))
	require.EqualValues(t, 2, collections(func(w *world) { // behind the head it is damaged
		large(w, "acme/host-17")
		key := "f/" + w.under("f/")[0]
		data := w.bytes(key)
		data[len(data)-1] ^= 1
		_, err := w.bucket.Put(t.Context(), key, frame.Bytes(data), bucket.PutOptions{})
		require.NoError(t, err)
	}), "both looks")
}
