package bucket_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/bucket/buckettest"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

var _ bucket.Bucket = (*bucket.Fake)(nil)

func TestFakeContract(t *testing.T) {
	for _, pageSize := range []int{1000, 1, 2} {
		buckettest.Run(t, func(*testing.T) bucket.Bucket {
			f := bucket.NewFake()
			f.PageSize = pageSize
			return f
		})
	}
}

func put(t *testing.T, f *bucket.Fake, key string) error {
	t.Helper()
	_, err := f.Put(t.Context(), key, frame.Bytes("x"), bucket.PutOptions{IfNoneMatch: true})
	return err
}

func TestFakeFaults(t *testing.T) {
	for _, c := range []struct {
		name   string
		when   bucket.When
		stored []string
	}{
		{"before the effect", bucket.BeforeEffect, nil},
		{"after the effect", bucket.AfterEffect, []string{"k"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := bucket.NewFake()
			f.Fail("put", 1, c.when, &bucket.Error{Kind: bucket.Unknown, Code: "InternalError"})
			_, err := f.List(t.Context(), "", "")
			require.NoError(t, err, "the fault is for put alone")

			err = put(t, f, "k")
			require.Equal(t, bucket.Unknown, bucket.KindOf(err))
			require.ErrorContains(t, err, "put k: unknown InternalError: injected fault")
			require.Equal(t, c.stored, f.Keys())
			calls := f.Calls()
			require.Len(t, calls, 2)
			require.True(t, calls[1].Fault)
			require.Equal(t, c.when == bucket.AfterEffect, calls[1].Effect)
			require.Equal(t, err, calls[1].Err)

			require.NoError(t, put(t, f, "later"), "it struck once")
		})
	}
}

func TestFakeFaultsLastUntilHeal(t *testing.T) {
	f := bucket.NewFake()
	f.Fail("", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied})
	for range 5 {
		require.Equal(t, bucket.Denied, bucket.KindOf(put(t, f, "k")))
	}
	f.Heal()
	require.NoError(t, put(t, f, "k"))
}

func TestFakeHangsUntilTheContextEnds(t *testing.T) {
	for _, when := range []bucket.When{bucket.BeforeEffect, bucket.AfterEffect} {
		synctest.Test(t, func(t *testing.T) {
			f := bucket.NewFake()
			f.Hang("put", 1, when)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			_, err := f.Put(ctx, "k", frame.Bytes("x"), bucket.PutOptions{})
			require.Equal(t, bucket.Unknown, bucket.KindOf(err))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Hour, time.Since(start))
			require.Len(t, f.Keys(), int(when))
		})
	}
}

func TestFakeTellsItsOwnTime(t *testing.T) {
	f := bucket.NewFake()
	at := time.Date(2031, 2, 3, 4, 5, 6, 7, time.UTC)
	f.Now = func() time.Time { return at }
	var seen []bucket.Call
	f.Seen = func(c bucket.Call) { seen = append(seen, c) }
	require.NoError(t, put(t, f, "k"))
	_, info, err := f.Get(t.Context(), "k", bucket.GetOptions{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, at.Truncate(time.Second), info.Date)
	require.Equal(t, info.Date, info.LastModified)
	err = put(t, f, "k")
	var e *bucket.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, info.Date, e.Date, "a refusal is an answer, and answers tell the time")
	require.Len(t, seen, 3)
}
