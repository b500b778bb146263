package lifelinereceiver

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/inflight"
)

// recoverys returns the gateway of recovery's listener, with a lane of its own.
func recoverys(t *testing.T, k *kafka) *gateway {
	t.Helper()
	g := bubble(t, k)
	g.cfg.TrustFlareHeaders = true
	g.lane = &lane{}
	return g
}

// connection is an HTTP connection whose peer has sent all, seen by the handler.
type connection struct {
	*httptest.ResponseRecorder
	body  *bytes.Reader
	until time.Time // the read deadline
}

func (c *connection) SetReadDeadline(until time.Time) error {
	c.until = until
	return nil
}

func (c *connection) Read(p []byte) (int, error) {
	if !c.until.IsZero() && time.Now().After(c.until) {
		return 0, os.ErrDeadlineExceeded
	}
	return c.body.Read(p)
}

// However long a request waited for the lane, its body has all of its own time.
func TestTheLaneTakesNoTimeFromTheBody(t *testing.T) {
	const wait = 18 * time.Second
	t.Run("http", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := &kafka{}
			g := recoverys(t, k)
			g.lane.next = time.Now().Add(wait)
			c := &connection{ResponseRecorder: httptest.NewRecorder(), body: bytes.NewReader(encoded(t, frame.Traces, 3))}
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/traces", c)
			r.ContentLength = int64(c.body.Len())
			r.Header.Set("Content-Type", typeProto)
			begin := time.Now()
			g.http.limitBody(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.http.serve(w, r, frame.Traces) })).ServeHTTP(c, r)
			require.Equal(t, wait, time.Since(begin))
			require.Equal(t, http.StatusOK, c.Code, c.Body)
			require.Len(t, k.all(), 1)
		})
	})
	t.Run("grpc", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			k := &kafka{}
			g := recoverys(t, k)
			g.lane.next = time.Now().Add(wait)
			raw := encoded(t, frame.Traces, 3)
			r := &request{
				signal: frame.Traces, format: formatProto, observer: g.grpc.observer, arrived: time.Now(), limit: g.cfg.maxGRPC(),
				header:   func(string) []string { return nil },
				deadline: func() (time.Time, bool) { return time.Time{}, false },
			}
			m := &message{gateway: g, request: r}
			r.patience = m.patience
			r.begin = func() (int64, error) {
				time.Sleep(time.Millisecond)
				m.begun.Store(true)
				return int64(len(raw)), nil
			}
			r.read = func(*reservation, int64) ([]byte, error) {
				time.Sleep(time.Millisecond)
				m.whole.Store(true)
				return append(newBuffer(int64(len(raw))), raw...), nil
			}
			_, refused := g.handle(t.Context(), r)
			require.Nil(t, refused)
			require.Len(t, k.all(), 1)
		})
	})
}

// What waits for the lane is told at once that the gateway closes.
func TestShutdownDoesNotWaitForTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kafka{}
		g := recoverys(t, k)
		for range int(widest) {
			require.Nil(t, g.lane.enter(t.Context(), nil))
		}
		var refused *refusal
		background(t, func() { refused = ask(t.Context(), g, encoded(t, frame.Traces, 3), nil, nil) })
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, g.Shutdown(context.Background()))
		synctest.Wait()
		require.Equal(t, errClosing, refused)
		require.Zero(t, time.Since(begin))
		require.Empty(t, k.all())
	})
}

// What waits for the lane is in the list of requests in flight, and leaves it
// however its wait ends.
func TestWhatTheLaneHoldsBackIsVisible(t *testing.T) {
	held := inflight.Request{Age: 3 * time.Second, Peer: "10.0.0.9:4711", Agent: "acme/host-17", Signal: frame.Traces}
	for name, row := range map[string]struct {
		end     func(t *testing.T, g *gateway, leave func())
		refused *refusal
	}{
		"the client leaves": {func(_ *testing.T, _ *gateway, leave func()) { leave() }, errBusy},
		"the answer is due": {func(_ *testing.T, g *gateway, _ func()) { time.Sleep(g.cfg.AckTimeout - held.Age) }, errBusy},
		"the gateway closes": {func(t *testing.T, g *gateway, _ func()) {
			require.NoError(t, g.Shutdown(context.Background()))
		}, errClosing},
		"there is room": {func(_ *testing.T, g *gateway, _ func()) { g.lane.leave(time.Now(), time.Now()) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k, started, finish := slowKafka()
				g := recoverys(t, k)
				for range int(widest) {
					require.Nil(t, g.lane.enter(t.Context(), nil))
				}
				ctx, leave := context.WithCancel(client.NewContext(t.Context(), client.Info{Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 4711}}))
				defer leave()
				answer := make(chan *refusal, 1)
				raw := encoded(t, frame.Traces, 3)
				background(t, func() { answer <- ask(ctx, g, raw, map[string]string{frame.HeaderAgent: "acme/host-17"}, nil) })
				time.Sleep(held.Age)
				synctest.Wait()
				require.Equal(t, []inflight.Request{held}, g.inflight.Snapshot(), "it waits")

				row.end(t, g, leave)
				if row.refused == nil {
					<-started
					now := g.inflight.Snapshot()
					require.Len(t, now, 1)
					require.Equal(t, inflight.Writing, now[0].Stage, "it has gone on")
					finish <- nil
				}
				require.Equal(t, row.refused, <-answer)
				synctest.Wait()
				require.Empty(t, g.inflight.Snapshot())
				require.Len(t, k.all(), map[bool]int{true: 1}[row.refused == nil])
			})
		})
	}
}
