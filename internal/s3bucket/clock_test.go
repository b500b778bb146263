package s3bucket

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestClock(t *testing.T) {
	var c clock
	require.Zero(t, c.offset())
	for _, ahead := range []time.Duration{3 * time.Hour, -3 * time.Hour, 5 * time.Second} {
		c.learn(time.Now().Add(ahead).Truncate(time.Second))
		require.InDelta(t, ahead, c.offset(), float64(time.Second))
	}
	c.learn(time.Time{})
	require.NotZero(t, c.offset(), "an answer without a Date says nothing")
	c.learn(time.Now())
	require.Zero(t, c.offset(), "a second is noise")

	c.learn(time.Now().Add(time.Hour))
	c.wall = c.wall.Add(-time.Hour) // as if the local clock was set forward since
	require.Zero(t, c.offset())
}

// TestSkewedClock: a store refuses old signatures; one refusal teaches the time.
func TestSkewedClock(t *testing.T) {
	const ahead = 40 * time.Minute
	calls := 0
	b := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		now := time.Now().Add(ahead)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		switch {
		case err != nil || now.Sub(at).Abs() > 15*time.Minute:
			refuse(w, http.StatusForbidden, codeSkewed)
		case r.Method == http.MethodPut:
			w.Header().Set("ETag", "tag")
		default:
			refuse(w, http.StatusForbidden, "AccessDenied")
		}
	})
	require.NoError(t, b.Probe(t.Context()))
	require.Equal(t, 2, calls)
	require.InDelta(t, ahead, b.ClockOffset(), float64(2*time.Second))
	require.NoError(t, put(t.Context(), b))
	require.Equal(t, 3, calls)
}
