package delivery

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// One sender is refused and another acked at once: whoever of them is slower to tell
// it, what was told last is how it is. A trouble that was told after its end would
// stand for as long as the gateway is well.
func TestWhatIsToldLastIsTrue(t *testing.T) {
	var mu sync.Mutex
	told := true
	w := newWorld(t, func(s *Settings) {
		s.Observer.Gateway = func(ok bool, cause otlpsend.Cause, _ error) {
			for range 10 {
				runtime.Gosched() // to the other
			}
			mu.Lock()
			defer mu.Unlock()
			require.Equal(t, ok, cause == otlpsend.CauseNone)
			told = ok
		}
	})
	for range 5000 {
		var senders sync.WaitGroup
		senders.Go(func() { w.e.pathRefused(&refusal, w.e.path.epoch(), false) })
		senders.Go(func() { w.e.pathPassed(&ack) })
		senders.Wait()
		require.Equal(t, w.e.path.down == otlpsend.CauseNone, told)
	}
	w.e.pathRefused(&refusal, w.e.path.epoch(), false)
	require.False(t, told)
	w.e.pathPassed(&ack)
	require.True(t, told)
}
