package recovery

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

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
	altered, enough := b.alters > 0, opts.Enough
	b.alters--
	opts.Enough = func(head []byte) bool {
		if altered {
			head[0] ^= 1
		}
		return enough(head)
	}
	data, info, err := b.Bucket.Get(ctx, key, opts)
	b.read = append(b.read, len(data))
	return data, info, err
}

// large returns a frame that no flare of HeadSize holds.
func (w *world) large() frame.Frame {
	var body strings.Builder
	for body.Len() < 4*flare.HeadSize {
		body.WriteString(frame.RandomHex())
	}
	return w.logs("acme/host-17", 1, body.String())
}

// TestTheHeadIsEnough: of an object that begins as no flare does, or as one for
// somebody else, recovery fetches the beginning and no more.
func TestTheHeadIsEnough(t *testing.T) {
	const head = flare.HeadSize
	t.Run("no flare", func(t *testing.T) {
		inWorld(t, func(w *world) {
			x := &metered{Bucket: w.bucket}
			w.set.Bucket = x
			w.put(flare.Key("f/", frame.RandomHex()), make([]byte, 8<<20))
			w.run(time.Minute)
			require.Equal(t, []int{head, head}, x.read, "it is looked at twice before it is put away")
			require.Equal(t, []string{"quarantined malformed"}, w.states())
		})
	})
	t.Run("for somebody else", func(t *testing.T) {
		inWorld(t, func(w *world) {
			x := &metered{Bucket: w.bucket}
			w.set.Bucket = x
			mine, f := w.id, w.large()
			other, err := age.GenerateX25519Identity()
			require.NoError(t, err)
			w.id = other
			m, data := w.seal("acme/host-17", nil, f)
			w.id = mine
			w.put(flare.Key("f/", m.FlareID), data)
			l := w.run(time.Minute)
			require.Equal(t, []int{head}, x.read)
			w.keysWith(func(k *Keys, o *flare.Opener) {
				o.Identities = append(o.Identities, other)
				k.Identities, k.Names = o.Identities, append(k.Names, "other")
			})
			w.resume(l, time.Minute)
			require.Equal(t, []int{head, len(data)}, x.read)
			require.Equal(t, []string{"waiting no_identity", "recovered"}, w.states())
			require.Equal(t, 1, w.gateway.got[f.BatchID])
		})
	})
	t.Run("wrong bytes on the way", func(t *testing.T) {
		inWorld(t, func(w *world) {
			x := &metered{Bucket: w.bucket, alters: 1}
			w.set.Bucket = x
			f := w.large()
			id := w.flare("acme/host-17", f)
			data := w.bytes(flare.Key("f/", id))
			w.run(10 * time.Minute)
			require.Equal(t, []int{head, head, len(data)}, x.read, "the second look differed: that condemns the store")
			require.Equal(t, []string{"recovered"}, w.states())
			require.Equal(t, 1, w.gateway.got[f.BatchID])
			require.Len(t, w.paths, 2)
		})
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

// whole is a store behind a proxy that hides the length of what it hands out the
// second time: then nobody can tell that an object has more than its head.
type whole struct{ metered }

func (b *whole) Get(ctx context.Context, key string, opts bucket.GetOptions) ([]byte, bucket.Info, error) {
	if strings.HasPrefix(key, "f/") && len(b.read) > 0 {
		opts.Enough = func([]byte) bool { return false }
	}
	return b.metered.Get(ctx, key, opts)
}

func TestTheSecondLookMayShowMore(t *testing.T) {
	inWorld(t, func(w *world) {
		x := &whole{metered{Bucket: w.bucket}}
		w.set.Bucket = x
		w.put(flare.Key("f/", frame.RandomHex()), make([]byte, 2*flare.HeadSize))
		w.run(time.Minute)
		require.Equal(t, []int{flare.HeadSize, 2 * flare.HeadSize}, x.read)
		require.Equal(t, []string{"quarantined malformed"}, w.states())
		require.Empty(t, w.paths)
	})
}
