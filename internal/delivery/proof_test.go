package delivery

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// refuseAFlare has some buckets refuse a flare whose telemetry the gateway takes in the
// end. It returns what is told of the buckets from then on.
func refuseAFlare(t *testing.T, drills time.Duration, refuse ...int) (w *world, told func() []string) {
	var said []string
	w = newWorld(t, func(s *Settings) {
		withDrills(drills)(s)
		s.Random = func() float64 { return 0.5 }
		s.Observer.Bucket = func(target string, ok bool, _ error) { said = append(said, fmt.Sprint(target, " ", ok)) }
	})
	told = func() []string {
		w.mu.Lock()
		defer w.mu.Unlock()
		all := said
		said = nil
		return all
	}
	w.wait(2 * time.Hour)
	require.Len(t, w.drills(), min(1, int(drills/time.Hour)), "the first has been")
	require.Empty(t, told())
	w.gw.set(down)
	for _, i := range refuse {
		w.buckets[i].Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied})
	}
	require.NoError(t, w.accept(3))
	w.wait(5*time.Minute + 10*time.Second)
	w.gw.set(up)
	w.wait(10 * time.Minute)
	require.Zero(t, w.e.ring.View().Held)
	return w, told
}

// What refused a flare that is not needed any more takes the next: that shows within
// the hour and max_age, and not with the drill of the next day.
func TestARefusalIsProvenOver(t *testing.T) {
	const proven = time.Hour + 6*time.Minute
	synctest.Test(t, func(t *testing.T) {
		w, told := refuseAFlare(t, 24*time.Hour, 0, 1)
		require.Equal(t, []string{"bucket-0 false", "bucket-1 false"}, told())
		w.wait(5 * time.Hour)
		require.Empty(t, told(), "it still refuses")
		require.Len(t, w.drills(), 1)
		w.heal()
		w.wait(2 * proven)
		require.Equal(t, []string{"bucket-0 true", "bucket-1 true"}, told())
		n := len(w.drills())
		require.Equal(t, 3, n, "one for each bucket")
		w.wait(20 * time.Hour)
		require.Len(t, w.drills(), n, "the next is due in a day")
		w.shutdown()
	})
	t.Run("one of two", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, told := refuseAFlare(t, 24*time.Hour, 0)
			require.Equal(t, []string{"bucket-0 false"}, told())
			require.Equal(t, int64(3), w.logs().Flared["expired"], "the other took it")
			w.heal()
			w.wait(proven)
			require.Equal(t, []string{"bucket-0 true"}, told())
			w.shutdown()
		})
	})
	t.Run("no drills", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, told := refuseAFlare(t, 0, 0, 1)
			require.Equal(t, []string{"bucket-0 false", "bucket-1 false"}, told())
			w.heal()
			w.wait(48 * time.Hour)
			require.Empty(t, told())
			require.Empty(t, w.stored())
			w.shutdown()
		})
	})
}

// A bucket that refuses for days costs the other one, and recovery, some drills a day
// and not two an hour: a fleet makes as many times more. The alarm still ends the same
// day.
func TestARefusalOfDaysIsProvenLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, told := refuseAFlare(t, 24*time.Hour, 0)
		w.wait(72 * time.Hour)
		require.Equal(t, []string{"bucket-0 false"}, told())
		require.LessOrEqual(t, len(w.drills()), 24)
		w.heal()
		w.wait(proofWithin + 6*time.Minute)
		require.Equal(t, []string{"bucket-0 true"}, told())
		w.shutdown()
	})
}
