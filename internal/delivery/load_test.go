package delivery

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// TestLoad accepts from many goroutines at once while the gateway comes and
// goes, and looks at the counters all the time.
func TestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Senders, s.Ring.Capacity = 8, 8<<20 })
		w.gw.set(func(_ context.Context, _ *otlpsend.Request, try int) (bool, otlpsend.Answer) {
			if try/20%2 == 1 {
				return try%3 == 0, timeout
			}
			return true, ack
		})
		var wg sync.WaitGroup
		var next atomic.Int64
		stop := make(chan struct{})
		wg.Go(func() {
			look := time.NewTicker(time.Millisecond)
			defer look.Stop()
			for !closed(stop) {
				w.check()
				<-look.C
			}
		})
		var feeders sync.WaitGroup
		for range 8 {
			feeders.Go(func() {
				for range 150 {
					pieces, err := new(otlpcodec.Scratch).EncodeLogs(w.newRecords(next.Add(5)-5, 5), 0)
					assert.NoError(t, err)
					assert.NoError(t, w.e.Accept(frame.Logs, nil, pieces))
					timer := time.NewTimer(50 * time.Millisecond)
					<-timer.C
				}
			})
		}
		feeders.Wait()
		close(stop)
		wg.Wait()
		w.accepted = next.Load()
		w.shutdown()
		missing, twice := w.verify()
		require.Zero(t, missing)
		require.Positive(t, twice, "answers were lost")
		require.Equal(t, int64(6000), w.logs().Accepted)
	})
}
