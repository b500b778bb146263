package recovery

import (
	"context"
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
