package lifelinereceiver

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// bubble is a gateway without listeners, for tests on a clock of their own.
func bubble(t *testing.T, k *kafka) *gateway {
	t.Helper()
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), testConfig(), k)
	require.NoError(t, err)
	g := r.(*shared).gateway
	t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
	return g
}

// ask hands raw to a gateway without a network.
func ask(ctx context.Context, g *gateway, raw []byte, headers map[string]string, cert *x509.Certificate) *refusal {
	_, refused := g.handle(ctx, &request{
		signal: frame.Traces, format: formatProto, observer: g.http.observer, arrived: time.Now(), limit: 20 << 20, cert: cert,
		header: func(name string) []string {
			if v, ok := headers[name]; ok {
				return []string{v}
			}
			return nil
		},
		deadline: ctx.Deadline,
		begin:    func() (int64, error) { return int64(len(raw)), nil },
		read: func(*reservation, int64) ([]byte, error) {
			return append(newBuffer(int64(len(raw))), raw...), nil
		},
	})
	return refused
}

// While Kafka hangs for a minute, agents send their frames again and again. Each
// frame is written once, and acked to all when Kafka is back.
func TestResendsJoinTheWriteInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		k := &kafka{script: func(context.Context, int) error { <-back; return nil }}
		g := bubble(t, k)
		const frames, attempts = 20, 3
		var late, acked atomic.Int64
		for n := range frames {
			raw := encoded(t, frame.Traces, n+1)
			id := frame.NewBatchID()
			background(t, func() {
				for range attempts + 1 {
					refused := ask(t.Context(), g, raw, map[string]string{frame.HeaderBatchID: string(id)}, nil)
					if refused == nil {
						acked.Add(1)
						return
					}
					if refused == errLate {
						late.Add(1)
					}
				}
			})
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		require.EqualValues(t, frames*attempts, late.Load(), "the fault was met")
		require.Len(t, k.all(), frames, "one copy per frame")
		require.Len(t, g.inflight.Snapshot(), 2*frames, "the writes, and the fourth requests that wait for them")
		close(back)
		synctest.Wait()
		require.EqualValues(t, frames, acked.Load())
		require.Len(t, k.all(), frames)
		require.Equal(t, g.admission.total, g.admission.room())
		require.Empty(t, g.inflight.Snapshot())
	})
}

func TestAckedBatchesAreAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kafka{}
		g := bubble(t, k)
		raw := encoded(t, frame.Traces, 3)
		id := map[string]string{frame.HeaderBatchID: rootID}
		require.Nil(t, ask(t.Context(), g, raw, id, nil))
		time.Sleep(rememberFor - time.Second)
		require.Nil(t, ask(t.Context(), g, raw, id, nil))
		require.Len(t, k.all(), 1)
		time.Sleep(time.Second)
		require.Nil(t, ask(t.Context(), g, raw, id, nil))
		require.Len(t, k.all(), 2, "a minute later nobody remembers")
	})
}

func TestOnlyTheSameIsJoined(t *testing.T) {
	raw := encoded(t, frame.Traces, 3)
	mine := map[string]string{frame.HeaderBatchID: rootID, "authorization": "Bearer mine"}
	for name, c := range map[string]struct {
		raw     []byte
		headers map[string]string
		cert    *x509.Certificate
	}{
		"other bytes":       {encoded(t, frame.Traces, 4), mine, nil},
		"other batch":       {raw, map[string]string{frame.HeaderBatchID: rootID + ".0", "authorization": "Bearer mine"}, nil},
		"other client":      {raw, map[string]string{frame.HeaderBatchID: rootID, "authorization": "Bearer other"}, nil},
		"no client":         {raw, map[string]string{frame.HeaderBatchID: rootID}, nil},
		"other certificate": {raw, mine, &x509.Certificate{Raw: []byte("other")}},
	} {
		t.Run(name, func(t *testing.T) {
			k := &kafka{}
			g := bubble(t, k)
			require.Nil(t, ask(t.Context(), g, raw, mine, nil))
			require.Nil(t, ask(t.Context(), g, raw, mine, nil))
			require.Len(t, k.all(), 1)
			require.Nil(t, ask(t.Context(), g, c.raw, c.headers, c.cert))
			require.Len(t, k.all(), 2)
		})
	}
	t.Run("without a batch id", func(t *testing.T) {
		k := &kafka{}
		g := bubble(t, k)
		for range 2 {
			require.Nil(t, ask(t.Context(), g, raw, nil, nil))
		}
		require.Len(t, k.all(), 2)
	})
}

func TestFailedWritesAreNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := make(chan error)
		k := &kafka{script: func(_ context.Context, n int) error {
			if n == 1 {
				return <-fail
			}
			return nil
		}}
		g := bubble(t, k)
		raw := encoded(t, frame.Traces, 3)
		id := map[string]string{frame.HeaderBatchID: rootID}
		answers := make(chan *refusal, 2)
		for range 2 {
			background(t, func() { answers <- ask(t.Context(), g, raw, id, nil) })
		}
		synctest.Wait()
		fail <- errDown
		require.Equal(t, errWrite, <-answers)
		require.Equal(t, errWrite, <-answers, "who joined fails with it")
		require.Len(t, k.all(), 1)
		require.Nil(t, ask(t.Context(), g, raw, id, nil))
		require.Len(t, k.all(), 2)
	})
}

// The client that began the write leaves; the one that joined it is acked.
func TestWhoeverLeavesTakesNobodyWithHim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, started, finish := slowKafka()
		g := bubble(t, k)
		raw := encoded(t, frame.Traces, 3)
		id := map[string]string{frame.HeaderBatchID: rootID}
		ctx, cancel := context.WithCancel(t.Context())
		first, second, other := make(chan *refusal, 1), make(chan *refusal, 1), make(chan *refusal, 1)
		background(t, func() { first <- ask(ctx, g, raw, id, nil) })
		write := <-started
		background(t, func() { second <- ask(t.Context(), g, raw, id, nil) })
		background(t, func() { other <- ask(t.Context(), g, raw, nil, nil) })
		neighbour := <-started
		synctest.Wait()
		cancel()
		require.Equal(t, errGone, <-first)
		require.NoError(t, write.Err())
		require.NoError(t, neighbour.Err())
		finish <- nil
		finish <- nil
		require.Nil(t, <-second)
		require.Nil(t, <-other)
		require.Len(t, k.all(), 2)
	})
}

func TestRememberedAcksAreBounded(t *testing.T) {
	var j joins
	for i := range 3 * maxAcked {
		key := joinKey(sha256.Sum256([]byte(strconv.Itoa(i))))
		w, first := j.begin(key)
		require.True(t, first)
		j.end(key, w, nil)
		require.LessOrEqual(t, len(j.writes), maxAcked+1)
	}
	require.Len(t, j.writes, maxAcked)
	require.Less(t, cap(j.acked), 3*maxAcked)
	_, first := j.begin(joinKey(sha256.Sum256([]byte(strconv.Itoa(3*maxAcked - 1)))))
	require.False(t, first, "the newest are kept")
}
