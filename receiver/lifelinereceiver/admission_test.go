package lifelinereceiver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestAdmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(AdmissionConfig{MaxInflight: 100, MaxWait: time.Second})
		first, err := a.acquire(t.Context(), 80)
		require.NoError(t, err)

		// Waiting is bounded, and by the clock alone.
		begin := time.Now()
		_, err = a.acquire(t.Context(), 30)
		require.ErrorIs(t, err, errFull)
		require.Equal(t, time.Second, time.Since(begin))

		// Whoever waits longest is served first, also before one who needs less.
		order := make(chan int64, 2)
		for _, n := range []int64{90, 20} {
			background(t, func() {
				r, err := a.acquire(t.Context(), n)
				if err == nil {
					order <- n
					r.release()
				}
			})
			synctest.Wait()
		}
		first.release()
		require.EqualValues(t, 90, <-order)
		require.EqualValues(t, 20, <-order)
		synctest.Wait()
		require.EqualValues(t, 100, a.room())

		// One who gives up lets those behind him through.
		first, err = a.acquire(t.Context(), 80)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		background(t, func() { _, _ = a.acquire(ctx, 90) })
		synctest.Wait()
		behind := make(chan error, 1)
		background(t, func() { _, err := a.acquire(t.Context(), 20); behind <- err })
		synctest.Wait()
		cancel()
		require.NoError(t, <-behind)

		// Growing never waits; shrinking always works.
		require.False(t, first.resize(81))
		require.True(t, first.resize(10))
		require.True(t, first.resize(80))
	})
}

func TestTooManyWaitingStreams(t *testing.T) {
	g := startPassthrough(t, &kafka{})
	raw := encoded(t, frame.Traces, 1)
	g.grpc.unread.Store(maxUnread)
	requireUnavailable(t, call(t.Context(), g, raw))
	g.grpc.unread.Store(0)
	require.Equal(t, codes.OK, call(t.Context(), g, raw).status.Code())
	require.Zero(t, g.grpc.unread.Load())
}
