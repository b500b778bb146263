// Package buckettest is the contract suite of bucket.Bucket: what delivery and
// recovery rely on, asked of every implementation. It is an ordinary package so
// that other modules can run it on their stores. It needs a bucket in which it
// may do everything; it never looks at keys that it did not make.
package buckettest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// limit is more than any object of the suite has.
const limit = 1 << 20

// Run runs the suite. open is called once for every test and returns a Bucket
// that may hold objects of earlier tests.
func Run(t *testing.T, open func(t *testing.T) bucket.Bucket) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s store)
	}{
		{"put then get", testPutGet},
		{"sizes and names", testSizesAndNames},
		{"a body in pieces", testPieces},
		{"if none match", testIfNoneMatch},
		{"if none match, sixteen at once", testOneWinner},
		{"if match", testIfMatch},
		{"equal bytes have equal etags", testETag},
		{"get a missing key", testGetMissing},
		{"get beyond the limit", testGetLimit},
		{"get of a head", testGetHead},
		{"list in byte order, page by page", testList},
		{"delete", testDelete},
		{"copy", testCopy},
		{"a context that has ended", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, store{Bucket: open(t), dir: "suite/" + frame.RandomHex() + "/"})
		})
	}
}

// store is the Bucket under test and a prefix that is this test's own.
type store struct {
	bucket.Bucket
	dir string
}

func (s store) put(t *testing.T, key, data string) bucket.Info {
	t.Helper()
	info, err := s.Put(t.Context(), key, frame.Bytes(data), bucket.PutOptions{})
	require.NoError(t, err)
	return info
}

func (s store) get(t *testing.T, key string) (string, bucket.Info) {
	t.Helper()
	data, info, err := s.Get(t.Context(), key, bucket.GetOptions{Limit: limit})
	require.NoError(t, err)
	return string(data), info
}

// keys lists everything below prefix, and checks every page on the way.
func (s store) keys(t *testing.T, prefix string) []bucket.Info {
	t.Helper()
	var all []bucket.Info
	for after, more := "", true; more; {
		page, err := s.List(t.Context(), prefix, after)
		require.NoError(t, err)
		requireRecent(t, page.Date)
		all = append(all, page.Objects...)
		if more = page.More; more {
			require.NotEmpty(t, page.Objects, "an empty page has no last key to go on from")
			after = all[len(all)-1].Key
		}
	}
	return all
}

func requireKind(t *testing.T, want bucket.Kind, op, key string, err error) {
	t.Helper()
	var e *bucket.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, want, e.Kind, "%v", err)
	require.Equal(t, op, e.Op)
	require.Equal(t, key, e.Key)
	require.Error(t, e.Err)
}

// requireRecent checks a time the store told. Its clock may be coarse, and in
// tests it is not set to another day.
func requireRecent(t *testing.T, at time.Time) {
	t.Helper()
	require.WithinDuration(t, time.Now(), at, time.Minute)
}

func testPutGet(t *testing.T, s store) {
	key := s.dir + "a"
	put := s.put(t, key, "hello")
	require.Equal(t, key, put.Key)
	require.NotEmpty(t, put.ETag)
	requireRecent(t, put.Date)

	data, got, err := s.Get(t.Context(), key, bucket.GetOptions{Limit: limit})
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))
	require.Equal(t, key, got.Key)
	require.EqualValues(t, 5, got.Size)
	require.Equal(t, put.ETag, got.ETag)
	requireRecent(t, got.LastModified)
	requireRecent(t, got.Date)
	// Servers refresh their Date once a second: it may be a little behind.
	require.Less(t, got.LastModified.Sub(got.Date), 3*time.Second)

	data[0] = 'X' // the caller owns the slice
	again, _ := s.get(t, key)
	require.Equal(t, "hello", again)
	s.put(t, key, "over")
	again, _ = s.get(t, key)
	require.Equal(t, "over", again, "a plain put replaces")
}

func testSizesAndNames(t *testing.T, s store) {
	for _, size := range []int{0, 1, 4095, 4096, 32768, 32769, 300_000} {
		key := fmt.Sprintf("%sA-z_0.9/%d", s.dir, size)
		want := bytes.Repeat([]byte{0, 0xff, 'x'}, size/3+1)[:size]
		s.put(t, key, string(want))
		got, info := s.get(t, key)
		require.Equal(t, string(want), got)
		require.EqualValues(t, size, info.Size)
	}
}

// pieces is a Body that writes one byte at a time.
type pieces string

func (p pieces) Len() int64 { return int64(len(p)) }

func (p pieces) WriteTo(w io.Writer) (int64, error) {
	for i := range len(p) {
		if _, err := w.Write([]byte(p[i : i+1])); err != nil {
			return int64(i), err
		}
	}
	return p.Len(), nil
}

func testPieces(t *testing.T, s store) {
	_, err := s.Put(t.Context(), s.dir+"p", pieces("one byte at a time"), bucket.PutOptions{IfNoneMatch: true})
	require.NoError(t, err)
	got, _ := s.get(t, s.dir+"p")
	require.Equal(t, "one byte at a time", got)
}

func testIfNoneMatch(t *testing.T, s store) {
	key := s.dir + "k"
	_, err := s.Put(t.Context(), key, frame.Bytes("first"), bucket.PutOptions{IfNoneMatch: true})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), key, frame.Bytes("second"), bucket.PutOptions{IfNoneMatch: true})
	requireKind(t, bucket.Exists, "put", key, err)
	got, _ := s.get(t, key)
	require.Equal(t, "first", got)
}

func testOneWinner(t *testing.T, s store) {
	key := s.dir + "race"
	var mu sync.Mutex
	var won []string
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprint("writer ", i)
			_, err := s.Put(t.Context(), key, frame.Bytes(name), bucket.PutOptions{IfNoneMatch: true})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won = append(won, name)
				return
			}
			assert.Contains(t, []bucket.Kind{bucket.Exists, bucket.Unknown}, bucket.KindOf(err), "%v", err)
		})
	}
	wg.Wait()
	require.Len(t, won, 1)
	got, _ := s.get(t, key)
	require.Equal(t, won[0], got)
}

func testIfMatch(t *testing.T, s store) {
	key := s.dir + "lease"
	_, err := s.Put(t.Context(), key, frame.Bytes("x"), bucket.PutOptions{IfMatch: "00000000000000000000000000000000"})
	requireKind(t, bucket.NotFound, "put", key, err)
	require.Empty(t, s.keys(t, s.dir), "a refused put leaves nothing")

	one := s.put(t, key, "one")
	two, err := s.Put(t.Context(), key, frame.Bytes("two"), bucket.PutOptions{IfMatch: one.ETag})
	require.NoError(t, err)
	require.NotEqual(t, one.ETag, two.ETag)
	_, err = s.Put(t.Context(), key, frame.Bytes("three"), bucket.PutOptions{IfMatch: one.ETag})
	requireKind(t, bucket.Exists, "put", key, err)
	got, info := s.get(t, key)
	require.Equal(t, "two", got)
	require.Equal(t, two.ETag, info.ETag)
}

func testETag(t *testing.T, s store) {
	a, b := s.put(t, s.dir+"a", "same"), s.put(t, s.dir+"b", "same")
	require.Equal(t, a.ETag, b.ETag)
	for _, info := range s.keys(t, s.dir) {
		require.Equal(t, a.ETag, info.ETag)
	}
}

func testGetMissing(t *testing.T, s store) {
	_, _, err := s.Get(t.Context(), s.dir+"nothing", bucket.GetOptions{Limit: limit})
	requireKind(t, bucket.NotFound, "get", s.dir+"nothing", err)
}

func testGetLimit(t *testing.T, s store) {
	s.put(t, s.dir+"five", "12345")
	_, _, err := s.Get(t.Context(), s.dir+"five", bucket.GetOptions{Limit: 4})
	requireKind(t, bucket.TooLarge, "get", s.dir+"five", err)
	data, _, err := s.Get(t.Context(), s.dir+"five", bucket.GetOptions{Limit: 5})
	require.NoError(t, err)
	require.Len(t, data, 5)
}

func testGetHead(t *testing.T, s store) {
	s.put(t, s.dir+"five", "12345")
	for _, c := range []struct {
		needs []int64  // the answers, in order; the last one is given again
		shown []string // what was read when they were given
		want  string
	}{
		{[]int64{0}, []string{""}, ""},
		{[]int64{-1}, []string{""}, ""},
		{[]int64{2}, []string{"", "12"}, "12"},
		{[]int64{2, 1}, []string{"", "12"}, "12"},
		{[]int64{2, 3, 4}, []string{"", "12", "123", "1234"}, "1234"},
		{[]int64{2, 5}, []string{"", "12"}, "12345"},
		{[]int64{2, 6}, []string{"", "12"}, "12345"},
		{[]int64{5}, []string{""}, "12345"},
		{[]int64{6}, []string{""}, "12345"},
		{[]int64{math.MaxInt64}, []string{""}, "12345"},
	} {
		var shown []string
		opts := bucket.GetOptions{Limit: 5, Need: func(read []byte) int64 {
			shown = append(shown, string(read))
			return c.needs[min(len(shown), len(c.needs))-1]
		}}
		data, info, err := s.Get(t.Context(), s.dir+"five", opts)
		require.NoError(t, err)
		require.Equal(t, c.shown, shown)
		require.Equal(t, c.want, string(data))
		require.NotEmpty(t, info.ETag)
		requireRecent(t, info.Date)
	}
	data, _ := s.get(t, s.dir+"five")
	require.Equal(t, "12345", data, "a call behind one that was cut off")
}

func testList(t *testing.T, s store) {
	want := []string{s.dir + "B", s.dir + "a-1", s.dir + "a.2", s.dir + "a/b", s.dir + "a0", s.dir + "b"}
	for _, key := range slices.Backward(want) {
		s.put(t, key, key)
	}
	s.put(t, s.dir[:len(s.dir)-1]+"-beside", "not below the prefix")

	var got []string
	for _, info := range s.keys(t, s.dir) {
		got = append(got, info.Key)
		require.EqualValues(t, len(info.Key), info.Size)
		require.NotEmpty(t, info.ETag)
		requireRecent(t, info.LastModified)
	}
	require.Equal(t, want, got)

	for i, key := range want { // after is exclusive
		page, err := s.List(t.Context(), s.dir, key)
		require.NoError(t, err)
		if i == len(want)-1 {
			require.Empty(t, page.Objects)
			continue
		}
		require.Equal(t, want[i+1], page.Objects[0].Key)
	}
	part, err := s.List(t.Context(), s.dir+"a", "")
	require.NoError(t, err)
	require.Equal(t, want[1], part.Objects[0].Key, "a prefix need not end with a slash")
}

func testDelete(t *testing.T, s store) {
	s.put(t, s.dir+"a", "x")
	for range 2 { // a missing key is no error
		info, err := s.Delete(t.Context(), s.dir+"a")
		require.NoError(t, err)
		requireRecent(t, info.Date)
	}
	require.Empty(t, s.keys(t, s.dir))
	_, err := s.Put(t.Context(), s.dir+"a", frame.Bytes("y"), bucket.PutOptions{IfNoneMatch: true})
	require.NoError(t, err, "a deleted key is free")
}

func testCopy(t *testing.T, s store) {
	src := s.put(t, s.dir+"src", "data")
	s.put(t, s.dir+"to/dst", "old")
	_, err := s.Copy(t.Context(), s.dir+"src", s.dir+"to/dst")
	require.NoError(t, err)
	for _, key := range []string{s.dir + "src", s.dir + "to/dst"} {
		got, info := s.get(t, key)
		require.Equal(t, "data", got)
		require.Equal(t, src.ETag, info.ETag)
	}
	_, err = s.Copy(t.Context(), s.dir+"nothing", s.dir+"to/dst")
	requireKind(t, bucket.NotFound, "copy", s.dir+"nothing", err)
	got, _ := s.get(t, s.dir+"to/dst")
	require.Equal(t, "data", got)
}

func testCancelled(t *testing.T, s store) {
	s.put(t, s.dir+"kept", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Put(ctx, s.dir+"new", frame.Bytes("x"), bucket.PutOptions{})
	requireKind(t, bucket.Unreachable, "put", s.dir+"new", err)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = s.Get(ctx, s.dir+"kept", bucket.GetOptions{Limit: limit})
	requireKind(t, bucket.Unreachable, "get", s.dir+"kept", err)
	_, err = s.List(ctx, s.dir, "")
	requireKind(t, bucket.Unreachable, "list", s.dir, err)
	_, err = s.Delete(ctx, s.dir+"kept")
	requireKind(t, bucket.Unreachable, "delete", s.dir+"kept", err)
	_, err = s.Copy(ctx, s.dir+"kept", s.dir+"new")
	requireKind(t, bucket.Unreachable, "copy", s.dir+"kept", err)
	require.Len(t, s.keys(t, s.dir), 1, "nothing was sent")
}
