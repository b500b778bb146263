package lifelineexporter

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

func newReporter() (*reporter, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	return &reporter{log: zap.New(core), troubles: &trouble.List{}}, logs
}

// A ring that overflows loses thousands of frames a second: that is a line every
// ten seconds, and the sums are complete.
func TestLossesAreAddedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, logs := newReporter()
		lost := r.observer().Lost
		lost(frame.Logs, delivery.LostRingFull, 5)
		require.Len(t, logs.TakeAll(), 1, "the first at once")
		for range 1000 {
			lost(frame.Logs, delivery.LostRingFull, 3)
			lost(frame.Traces, delivery.LostBudget, 1)
		}
		lines := logs.TakeAll()
		require.Len(t, lines, 1, "another kind has a line of its own")
		require.Equal(t, "budget", lines[0].ContextMap()["reason"])
		require.EqualValues(t, 1, lines[0].ContextMap()["items"])
		time.Sleep(lossInterval)
		synctest.Wait()
		sums := map[any]any{}
		for _, line := range logs.TakeAll() {
			sums[line.ContextMap()["reason"]] = line.ContextMap()["items"]
		}
		require.Equal(t, map[any]any{"ring_full": int64(3000), "budget": int64(999)}, sums)

		time.Sleep(lossInterval) // quiet: the next is news again
		synctest.Wait()
		require.Empty(t, logs.TakeAll())
		lost(frame.Logs, delivery.LostRingFull, 7)
		lost(frame.Logs, delivery.LostRingFull, 8)
		r.close()
		lines = logs.TakeAll()
		require.Len(t, lines, 2)
		require.EqualValues(t, 8, lines[1].ContextMap()["items"], "what was left to say")
		lost(frame.Logs, delivery.LostShutdown, 9)
		require.Len(t, logs.TakeAll(), 1, "after the end at once")
	})
}

func TestRejectedIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, logs := newReporter()
		o := r.observer()
		o.Rejected(frame.Metrics, 2, "bad unit")
		o.Dropped(frame.Metrics, 2)
		r.close()
		lines := logs.TakeAll()
		require.Len(t, lines, 2)
		require.Contains(t, lines[0].Message, "proved items bad")
		require.Equal(t, "bad unit", lines[0].ContextMap()["message"])
		require.Contains(t, lines[1].Message, "no bucket took them")
	})
}

func TestTheCauseOfAnOutageIsLogged(t *testing.T) {
	r, logs := newReporter()
	o := r.observer()
	o.Gateway(false, otlpsend.CauseTLSExpired, errors.New("certificate has expired"))
	o.Gateway(true, otlpsend.CauseNone, nil)
	lines := logs.TakeAll()
	require.Len(t, lines, 2)
	require.Equal(t, "tls_expired", lines[0].ContextMap()["cause"])
	require.False(t, r.troubles.Wrong("gateway"))
}

func TestWhatKeysAreWrongIsSaidOnce(t *testing.T) {
	r, logs := newReporter()
	r.bucket("", false, keyError{errors.New("no file")})
	require.Empty(t, logs.TakeAll(), "the fallback has said so")
	require.False(t, r.troubles.Wrong("sealing"))
	for _, reason := range []string{"self-test", "no entropy"} {
		r.bucket("", false, errors.New(reason))
		lines := logs.TakeAll()
		require.Len(t, lines, 1)
		require.Equal(t, reason, lines[0].ContextMap()["error"])
		require.True(t, r.troubles.Wrong("sealing"))
		table, err := json.Marshal(trouble.Table(r.troubles))
		require.NoError(t, err)
		require.Contains(t, string(table), "no flare can be sealed: "+reason, "the latest")
	}
	r.bucket("", true, nil)
	require.False(t, r.troubles.Wrong("sealing"))
}
