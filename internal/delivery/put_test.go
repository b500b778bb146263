package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// TestPutFaults injects every kind of fault before and after its effect into
// the first bucket, and tells where the flare must be in the end.
func TestPutFaults(t *testing.T) {
	const first, second = 0, 1
	for _, tt := range []struct {
		name  string
		kind  bucket.Kind
		times int
		when  bucket.When
		hang  bool
		in    []int // objects in the first and in the second bucket
		puts  []int // PUTs seen by them
	}{
		{"denied", bucket.Denied, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"refused", bucket.Refused, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"no such bucket", bucket.NotFound, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"unreachable", bucket.Unreachable, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"key taken", bucket.Exists, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"unknown, not done", bucket.Unknown, 1, bucket.BeforeEffect, false, []int{1, 0}, []int{2, 0}},
		{"unknown, done", bucket.Unknown, 1, bucket.AfterEffect, false, []int{1, 0}, []int{2, 0}},
		{"throttled", bucket.Throttled, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"throttled, done all the same", bucket.Throttled, 1, bucket.AfterEffect, false, []int{1, 1}, []int{1, 1}},
		{"unknown three times, not done", bucket.Unknown, 3, bucket.BeforeEffect, false, []int{0, 1}, []int{3, 1}},
		{"unknown three times, done", bucket.Unknown, 3, bucket.AfterEffect, false, []int{1, 1}, []int{3, 1}},
		{"hangs, not done", 0, 1, bucket.BeforeEffect, true, []int{0, 1}, []int{1, 1}},
		{"hangs, done", 0, 1, bucket.AfterEffect, true, []int{1, 1}, []int{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				if tt.hang {
					w.buckets[first].Hang("put", tt.times, tt.when)
				} else {
					w.buckets[first].Fail("put", tt.times, tt.when, &bucket.Error{Kind: tt.kind})
				}
				require.NoError(t, w.accept(10))
				w.wait(10 * time.Minute)
				require.Equal(t, int64(10), w.logs().Flared[flare.Expired])
				for i := range w.buckets {
					require.Len(t, w.buckets[i].Keys(), tt.in[i], "bucket %d", i)
					require.Len(t, w.buckets[i].Calls(), tt.puts[i], "bucket %d", i)
				}
				require.True(t, w.buckets[first].Calls()[0].Fault, "the fault was met")
				if tt.kind == bucket.Exists {
					require.Equal(t, uint64(2), w.flares[0].Seq)
					require.Equal(t, []uint64{1}, w.flares[0].Unresolved)
				} else {
					require.Equal(t, uint64(1), w.flares[0].Seq)
				}
				w.shutdown()
				w.nothingIsMissing()
			})
		})
	}
}

// TestForeignKeys meets other objects under the flare's key after a PUT whose
// outcome is unknown: what is known of the old id says nothing of the new one.
func TestForeignKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(down)
		w.buckets[0].Fail("put", 3, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Unknown})
		w.buckets[0].Fail("put", 1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Exists})
		w.buckets[1].Fail("put", 1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Exists})
		require.NoError(t, w.accept(4))
		w.wait(10 * time.Minute)
		require.Equal(t, int64(4), w.logs().Flared[flare.Expired])
		require.Len(t, w.buckets[1].Keys(), 1)
		require.Equal(t, []uint64{1, 2}, w.flares[0].Unresolved)
		w.shutdown()
		w.nothingIsMissing()
	})
}

// TestLateAck lets the gateway take a frame whose answer comes after a flare
// holds the frame.
func TestLateAck(t *testing.T) {
	for name, take := range map[string]bool{"flare stored": true, "flare given up": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := make(chan struct{})
				w := newWorld(t, func(s *Settings) { s.Retry.Timeout = time.Hour })
				w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
					<-answer // the cancelled request had its effect long ago
					return true, ack
				})
				if !take {
					w.failPuts(bucket.BeforeEffect, bucket.Unreachable)
				}
				require.NoError(t, w.accept(4))
				w.wait(6 * time.Minute)
				require.NotEmpty(t, w.buckets[0].Calls(), "the flare was sealed")
				close(answer)
				w.wait(time.Minute)
				got := w.logs()
				if take {
					require.Equal(t, int64(4), got.Flared[flare.Expired])
					require.Equal(t, int64(4), got.LateAcks)
					require.Zero(t, got.Delivered)
				} else {
					// No closed gate opened, so nothing gives the flare up before
					// the shutdown does.
					w.shutdown()
					got = w.logs()
					require.Equal(t, int64(4), got.Delivered)
					require.Zero(t, sum(got.Lost))
				}
				w.gw.set(up)
				w.shutdown()
				w.nothingIsMissing()
			})
		})
	}
}

// TestAckWhileTheFlareIsPut acks a frame after its flare was sealed and before
// a bucket has it.
func TestAckWhileTheFlareIsPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		w := newWorld(t, func(s *Settings) { s.Retry.Timeout = time.Hour })
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			<-answer
			return true, ack
		})
		w.buckets[0].Hang("put", 3, bucket.BeforeEffect)
		require.NoError(t, w.accept(4))
		for w.e.ring.View().Flaring == 0 {
			w.wait(time.Second)
		}
		w.wait(time.Second)
		close(answer)
		w.wait(time.Second)
		require.Equal(t, int64(4), w.logs().Held, "remembered, not counted")
		w.wait(5 * time.Minute)
		require.Equal(t, int64(4), w.logs().Flared[flare.Expired])
		require.Equal(t, int64(4), w.logs().LateAcks)
		w.shutdown()
	})
}
