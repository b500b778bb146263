package delivery

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// poison answers with fault whatever carries one of the records, and counts it.
func (w *world) poison(fault script, records ...string) script {
	return func(ctx context.Context, r *otlpsend.Request, try int) (bool, otlpsend.Answer) {
		if !w.holds(r, records...) {
			return true, ack
		}
		w.mu.Lock()
		w.poisoned++
		w.mu.Unlock()
		return fault(ctx, r, try)
	}
}

func recordsOf(numbers ...int) (names []string) {
	for _, n := range numbers {
		names = append(names, fmt.Sprint("record-", n))
	}
	return names
}

// TestPoisonPositions has some frames that no gateway stands, at every position,
// fewer and more than there are senders, in a backlog and beside what comes in:
// nothing else waits for them.
func TestPoisonPositions(t *testing.T) {
	faults := map[string]script{"reset": down, "hang": hung, "bad data": func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
		return false, badData
	}, "broken": func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, html }}
	for name, bad := range map[string][]int{
		"first": {0}, "middle": {11}, "last": {23}, "two ends": {0, 23},
		"as many as senders, first": {0, 1, 2, 3}, "more, first": {0, 1, 2, 3, 4, 5, 6}, "more, last": {17, 18, 19, 20, 21, 22, 23},
		"every third": {0, 3, 6, 9, 12, 15, 18, 21},
	} {
		for kind, fault := range faults {
			t.Run(name+" "+kind, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, func(s *Settings) {
						s.Frame.Linger, s.Ring.MaxAge, s.Flare = 0, time.Hour, nil
						s.Retry.MaxInterval, s.Retry.Timeout = 30*time.Second, 10*time.Second
					})
					w.gw.set(w.poison(fault, recordsOf(bad...)...))
					for range 24 {
						require.NoError(t, w.accept(1))
					}
					good := int64(24 - len(bad))
					w.wait(5 * time.Minute)
					require.GreaterOrEqual(t, w.poisoned, len(bad), "the fault was met")
					require.Equal(t, good, w.logs().Delivered, "the backlog went on")
					behind := int64(0)
					for i := range 120 { // and what comes in is not held up
						require.NoError(t, w.accept(1))
						w.wait(5 * time.Second)
						behind = max(behind, good+int64(i)+1-w.logs().Delivered)
					}
					t.Log("behind", behind)
					// Seven hang for ten seconds each, and whose turn it is is drawn: 10 is
					// usual, and of 12,000 runs one had 35.
					require.LessOrEqual(t, behind, int64(60), "half of all that came in")
					w.wait(5 * time.Minute)
					got := w.logs()
					require.Equal(t, good+120, got.Delivered)
					require.Equal(t, int64(len(bad)), got.Rejected, "each was parked alone: %+v", got)
					w.shutdown()
					missing, twice := w.verify()
					require.Equal(t, int64(len(bad)), missing)
					require.Zero(t, twice)
				})
			})
		}
	}
}

// TestPoisonIsCutOut has one record in frames of many: everything beside it is
// delivered, the half it is in is split again and again.
func TestPoisonIsCutOut(t *testing.T) {
	for _, bad := range [][]int{{0}, {31}, {63}, {0, 63}, {3, 20, 40, 60}} {
		t.Run(fmt.Sprint(bad), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(s *Settings) { s.Ring.MaxAge = 10 * time.Hour })
				w.gw.set(w.poison(down, recordsOf(bad...)...))
				require.NoError(t, w.accept(64))
				for range 30 { // nothing proves a frame bad but acks of others
					w.wait(time.Minute)
					require.NoError(t, w.accept(1))
				}
				w.feed(1, 2*time.Second, time.Hour)
				w.wait(time.Minute)
				got := w.logs()
				require.Equal(t, int64(len(bad)), got.Rejected, "%+v", got)
				require.Equal(t, got.Accepted, got.Delivered+got.Rejected)
				w.shutdown()
				missing, twice := w.verify()
				require.Equal(t, int64(len(bad)), missing)
				require.Zero(t, twice)
			})
		})
	}
}
