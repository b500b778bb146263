package s3bucket

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	})
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
	require.InDelta(t, ahead, b.ClockOffset(), float64(time.Minute))
	require.NoError(t, put(t.Context(), b))
	require.Equal(t, 3, calls)
}

// TestStrangersTellNoTime: a proxy's page or a half good answer must not move the
// clock that requests are signed with, and that flares are dated by.
func TestStrangersTellNoTime(t *testing.T) {
	const ahead = 48 * time.Hour
	var answer http.HandlerFunc
	b := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
		answer(w, r)
	})
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); fmt.Fprint(w, body) }
	}
	for _, status := range []int{200, 302, 403, 404, 502, 503} {
		for _, body := range []string{
			"", "<html>bad gateway</html>", "<Error><Code></Code></Error>",
			"<Error><Code>Access Denied</Code></Error>", "<Error><Code>Ac\u009b31m</Code></Error>",
			"<Error><Code>" + strings.Repeat("A", 65) + "</Code></Error>",
		} {
			answer = say(status, body)
			_, get, getErr := b.Get(t.Context(), "f/k", bucket.GetOptions{Limit: 1 << 10})
			_, list := b.List(t.Context(), "f/", "")
			_, cp := b.Copy(t.Context(), "f/k", "q/k")
			for _, err := range []error{put(t.Context(), b), getErr, list, cp} {
				requireError(t, err, bucket.Unknown, "")
				e, _ := errors.AsType[*bucket.Error](err)
				require.Zero(t, e.Date)
				require.Less(t, len(err.Error()), 400)
			}
			require.Zero(t, get.Date)
			require.Zero(t, b.ClockOffset(), "%d %q", status, body)
		}
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		call   func() error
	}{
		"put":     {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", "tag") }, func() error { return put(t.Context(), b) }},
		"get":     {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", "tag") }, func() error { _, _, err := b.Get(t.Context(), "f/k", bucket.GetOptions{Limit: 1}); return err }},
		"list":    {say(200, listed(false, "f/k")), func() error { _, err := b.List(t.Context(), "f/", ""); return err }},
		"copy":    {say(200, `<CopyObjectResult><ETag>"tag"</ETag></CopyObjectResult>`), func() error { _, err := b.Copy(t.Context(), "f/k", "q/k"); return err }},
		"refusal": {say(404, "<Error><Code>NoSuchKey</Code></Error>"), func() error { _, err := b.Delete(t.Context(), "f/k"); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			b.clock.learn(time.Now())
			require.Zero(t, b.ClockOffset())
			answer = c.answer
			require.NoError(t, c.call())
			require.InDelta(t, ahead, b.ClockOffset(), float64(time.Minute))
		})
	}
}
