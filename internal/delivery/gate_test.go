package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testGate() gate {
	return newGate(&Settings{
		Senders: 4, Ring: RingSettings{MaxAge: 5 * time.Minute},
		Retry: RetrySettings{InitialInterval: time.Second, MaxInterval: 30 * time.Second},
	})
}

func TestGateOpens(t *testing.T) {
	g, now := testGate(), time.Now()
	for _, want := range []int{1, 2, 4, 4} {
		require.Equal(t, want, g.free(now, 0))
		require.False(t, g.passed())
	}
	require.Equal(t, 1, g.free(now, 3))
	require.Zero(t, g.free(now, 5))

	g.refused(now, failure{random: 0.5})
	require.Zero(t, g.free(now, 0))
	require.Equal(t, 1, g.free(now.Add(time.Second/2), 0), "one probe")
	require.Zero(t, g.free(now.Add(time.Second/2), 1), "at a time")
	require.True(t, g.passed())
	for _, want := range []int{1, 2, 4, 4} {
		require.Equal(t, want, g.free(now, 0), "from the beginning")
		g.passed()
	}
}

func TestGateBacksOff(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    failure
		want []time.Duration
	}{
		{"full jitter, low", failure{}, []time.Duration{0, 0, 0}},
		{"full jitter, high", failure{random: 1}, []time.Duration{1, 2, 4, 8, 16, 30, 30}},
		{"broken, low", failure{broken: true}, []time.Duration{0, 0, 0, 0, 15, 15}},
		{"broken, high", failure{broken: true, random: 1}, []time.Duration{1, 2, 4, 8, 30, 30}},
		{"the server's wish is a floor", failure{after: 10 * time.Second}, []time.Duration{10, 10}},
		{"with jitter", failure{after: 10 * time.Second, random: 0.5}, []time.Duration{15, 15}},
		{"the backoff may be longer", failure{after: time.Second, random: 1}, []time.Duration{2, 2, 4, 8}},
		{"up to a fifth of max_age", failure{after: time.Hour}, []time.Duration{60, 60}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, now := testGate(), time.Now()
			for i, want := range tt.want {
				f := tt.f
				f.epoch = g.epoch
				g.refused(now, f)
				require.Equal(t, want*time.Second, g.next.Sub(now), "failure %d", i)
			}
		})
	}
}

func TestGateCountsSimultaneousFailuresOnce(t *testing.T) {
	g, now := testGate(), time.Now()
	epoch := g.epoch
	for range 4 {
		g.refused(now, failure{epoch: epoch, random: 1})
	}
	require.Equal(t, time.Second, g.next.Sub(now))
	require.Equal(t, 2*time.Second, g.interval)
}

// A frame that is bad itself leaves the gate as it is, and has a backoff of its own.
func TestGateAndSuspects(t *testing.T) {
	g, now := testGate(), time.Now()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		g.refused(now, failure{random: 1, suspect: true})
		require.Equal(t, 1, g.free(now, 0))
		may, at := g.mayRetry(now)
		require.False(t, may)
		require.Equal(t, now.Add(want*time.Second), at)
		may, _ = g.mayRetry(at)
		require.True(t, may)
	}
	g.passed()
	g.refused(now, failure{random: 1, suspect: true})
	_, at := g.mayRetry(now)
	require.Equal(t, now.Add(time.Second), at, "an ack is news for them, too")
	g.drain()
	may, _ := g.mayRetry(now)
	require.True(t, may, "in a shutdown nothing waits")
}

func TestGateDrains(t *testing.T) {
	g, now := testGate(), time.Now()
	g.refused(now, failure{random: 1})
	require.Zero(t, g.free(now, 0))
	g.drain()
	for left := 4; left > 0; left-- {
		require.Equal(t, left, g.free(now, 0))
		g.refused(now, failure{epoch: g.epoch, random: 1})
	}
	require.Zero(t, g.free(now, 0), "every sender has failed once")
}
