package recovery

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// TestBadBucket: whatever else is in the bucket or happens to it, the good flare
// in it is in Kafka once, through the shipped recovery and the shipped gateway.
func TestBadBucket(t *testing.T) {
	g := newGate(t)
	rows := map[string]func(*way){
		"others take what was listed":      (*way).taken,
		"more than one page":               (*way).paged,
		"keys that are no flare's":         (*way).foreign,
		"versions and delete markers":      (*way).versioned,
		"the store throttles":              storeFails(answers(http.StatusServiceUnavailable, "SlowDown"), everyCall...),
		"the store has an internal error":  storeFails(answers(http.StatusInternalServerError, "InternalError"), everyCall...),
		"answers are lost":                 storeFails(answerIsLost, everyCall...),
		"connections end in the body":      storeFails(bodyEnds, "list flare", "get flare"),
		"bytes arrive one after the other": storeFails(bodyDrips, "list flare", "get flare"),
		"wrong bytes, then the right ones": (*way).wrongBytes,
	}
	t.Run("rows", func(t *testing.T) {
		for name, row := range rows {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := g.newWay(t)
				row(w)
				w.kill()
				w.account()
				require.Empty(t, w.under("lifeline/try/"))
			})
		}
	})
}

// ends asserts that nothing is left but the good flare's marker.
func (w *way) ends(good string) {
	w.t.Helper()
	require.Empty(w.t, w.under("f/"))
	require.Equal(w.t, []string{"probe"}, w.under("lifeline/quarantine/"))
	require.Equal(w.t, []string{good}, slices.DeleteFunc(w.under("lifeline/done/"), isProbe))
}

// taken: somebody else deletes objects when recovery has seen them: flares before
// it fetches them, what is no flare before it is looked at again and before it is
// put away, and the good one before recovery deletes it.
func (w *way) taken() {
	var others []string
	for range 20 {
		id, data := w.seal(flare.Shutdown, w.logs(1))
		others = append(others, flare.Key("f/", id))
		w.put(others[len(others)-1], data)
	}
	again, away := flare.Key("f/", frame.RandomHex()), flare.Key("f/", frame.RandomHex())
	w.put(again, []byte("no flare"))
	w.put(away, []byte("no flare"))
	good := w.good()

	var mu sync.Mutex
	struck, calls := map[string]bool{}, map[string]int{}
	take := func(why string, keys ...string) {
		if !struck[why] {
			for _, key := range keys {
				w.remove(key, nil)
			}
		}
		struck[why] = true
	}
	w.tap.spoilCalls(func(_ http.ResponseWriter, _ *http.Request, c call) bool {
		mu.Lock()
		defer mu.Unlock()
		calls[c.String()]++
		switch {
		case c.name == "get flare" && slices.Contains(others, c.key):
			take("fetched", others...)
		case c.name == "get flare" && c.key == again && calls[c.String()] == 2:
			take("looked at again", again)
		case c.name == "copy flare" && c.key == away:
			take("put away", away)
		case c.name == "delete flare" && c.flare == good:
			take("deleted", c.key)
		}
		return false
	})
	w.start()
	w.gone(good)
	mu.Lock()
	defer mu.Unlock()
	require.Len(w.t, struck, 4)
	w.ends(good)
}

// paged: in front of the good flare there are more keys than one page has.
func (w *way) paged() {
	const page = 1000
	for i := range page + 1 {
		w.put(fmt.Sprintf("f/-%04d", i), nil)
	}
	good := w.good()
	first, err := w.root.ListObjectsV2(w.ctx, &awss3.ListObjectsV2Input{Bucket: &w.bucket, Prefix: aws.String("f/")})
	require.NoError(w.t, err)
	require.True(w.t, aws.ToBool(first.IsTruncated) && len(first.Contents) == page, "the store pages")
	var mu sync.Mutex
	asked := map[string]bool{}
	w.tap.spoilCalls(func(_ http.ResponseWriter, r *http.Request, c call) bool {
		mu.Lock()
		defer mu.Unlock()
		if c.name == "list flare" {
			asked[r.URL.Query().Get("start-after")] = true
		}
		return false
	})
	w.start()
	w.gone(good)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(w.t, map[string]bool{"": true, "f/-0999": true}, asked, "both pages were asked for")
	require.Equal(w.t, page+1, w.waits("foreign"))
	require.Len(w.t, w.under("f/"), page+1)
}

// foreign: copies of the good flare under keys that are no flare's. All stay.
func (w *way) foreign() {
	id, data := w.seal(flare.Expired, w.logs(2), w.logs(3))
	below := []string{
		"notes.txt", id, id + ".AGE", id + ".age.tmp", id[:31] + ".age", id + "0.age", "A" + id[1:] + ".age", "x/y/" + id + ".age",
		"X/" + id + ".age", strings.Repeat("x", 33) + "/" + id + ".age", "a b&<c>+%41'é.age", "probe-x.age",
	}
	outside := []string{id + ".age", "g/" + id + ".age", "ff/" + id + ".age", "lifeline/f/" + id + ".age", "lifeline-old/done/" + id}
	for _, key := range below {
		w.put("f/"+key, data)
	}
	for _, key := range outside {
		w.put(key, data)
	}
	w.put(flare.Key("f/", id), data)
	w.start()
	w.gone(id)
	require.Equal(w.t, len(below), w.waits("foreign"))
	require.ElementsMatch(w.t, below, w.under("f/"))
	for _, key := range outside {
		require.Equal(w.t, []string{""}, w.under(key), "%s stays", key)
	}
	done, _ := w.tap.effects()
	for _, c := range done {
		mine := strings.HasPrefix(c.key, "lifeline/") || c.key == "f/" || c.key == flare.Key("f/", id) || strings.HasPrefix(c.key, "f/probe-")
		require.True(w.t, mine && !slices.Contains(outside, c.key), "%s", c)
	}
}

// versioned: the bucket keeps versions, so that what recovery deletes is only
// hidden. It is recovered once: not when another process looks, not when somebody
// takes the delete marker away, not when nothing but that marker tells of it.
func (w *way) versioned() {
	_, err := w.root.PutBucketVersioning(w.ctx, &awss3.PutBucketVersioningInput{
		Bucket: &w.bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	require.NoError(w.t, err)
	w.lease = true // conditional puts on versions, too
	good := w.good()
	w.start()
	w.gone(good)
	marker := w.hidden(good)
	w.ends(good)

	w.remove(flare.Key("f/", good), marker)
	require.Equal(w.t, []string{good + ".age"}, w.under("f/"), "it is back")
	w.restart(func(c call) bool { return c.name == "delete flare" && c.flare == good })
	w.hidden(good)
	w.ends(good)

	w.remove("lifeline/done/"+good, nil)
	w.restart(func(call) bool { return true })
	w.hidden(good)
	require.Empty(w.t, slices.DeleteFunc(w.under("lifeline/done/"), isProbe))
	require.Equal(w.t, 1, w.tap.calls()["get flare"], "it was fetched once")
}

// hidden asserts that a flare's last version is a delete marker, its bytes behind
// it, and returns the marker's version.
func (w *way) hidden(id string) *string {
	w.t.Helper()
	key := flare.Key("f/", id)
	all, err := w.root.ListObjectVersions(w.ctx, &awss3.ListObjectVersionsInput{Bucket: &w.bucket, Prefix: &key})
	require.NoError(w.t, err)
	require.Len(w.t, all.Versions, 1)
	require.Len(w.t, all.DeleteMarkers, 1)
	require.True(w.t, aws.ToBool(all.DeleteMarkers[0].IsLatest))
	_, err = w.root.GetObject(w.ctx, &awss3.GetObjectInput{Bucket: &w.bucket, Key: &key})
	answer, ok := errors.AsType[*awshttp.ResponseError](err)
	require.True(w.t, ok, "%v", err)
	require.Equal(w.t, http.StatusNotFound, answer.HTTPStatusCode())
	require.Equal(w.t, "true", answer.Response.Header.Get("X-Amz-Delete-Marker"))
	return all.DeleteMarkers[0].VersionId
}

// restart lets another process take over and make passes, counted from a call.
func (w *way) restart(from func(call) bool) {
	w.t.Helper()
	w.kill()
	seen := len(w.tap.deserted(w.ctx, w.t))
	w.expireLeases()
	w.start()
	w.passes(seen, from)
}
