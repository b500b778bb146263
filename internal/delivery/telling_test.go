package delivery

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A bucket takes one flare and refuses another one at once, as it can when a shutdown
// puts several: what is told of it last is how it is.
func TestWhatIsToldLastOfABucketIsTrue(t *testing.T) {
	var telling sync.Mutex
	takes := true
	e, err := New(Settings{
		Agent: "a", Senders: 8, Transport: slowGateway{}, Frame: FrameSettings{MaxSize: 1 << 10},
		Ring:            RingSettings{Capacity: 1 << 20, MaxAge: time.Minute},
		Retry:           RetrySettings{InitialInterval: time.Second, MaxInterval: time.Second, Timeout: time.Second},
		ShutdownTimeout: time.Second,
		Observer: Observer{Bucket: func(_ string, ok bool, _ error) {
			if !assert.True(t, telling.TryLock(), "told two things at the same time") {
				return
			}
			defer telling.Unlock()
			runtime.Gosched() // whoever could come in between does
			assert.NotEqual(t, ok, takes, "no news")
			takes = ok
		}},
	})
	require.NoError(t, err)
	refused := errors.New("refused")
	var flares sync.WaitGroup
	for n := range 8 {
		flares.Go(func() {
			for i := range 200 {
				if (i+n)%2 == 0 {
					e.observeBucket("b", nil)
				} else {
					e.observeBucket("b", refused)
				}
			}
		})
	}
	flares.Wait()
	require.Equal(t, !e.fb.targets.refused["b"], takes)
}
