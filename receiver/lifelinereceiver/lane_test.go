package lifelinereceiver

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// traffic is what goes through a lane for a while: agents send every 5 ms, and
// 1 of their 50 acks takes 3 ms, the others 2; recovery has 8 requests of 5 ms to
// send at any time. Of them, more than bears at a time make the acks slow.
type traffic struct {
	l     lane
	bears int
	live  bool

	mu                     sync.Mutex
	acks, slow, passed, in int
}

// agent sends one request, the i-th, and gets its ack.
func (c *traffic) agent(i int) {
	began := time.Now()
	took := 2 * time.Millisecond
	if i%50 == 0 {
		took = 3 * time.Millisecond
	}
	time.Sleep(time.Millisecond)
	c.mu.Lock()
	c.acks++
	if c.in > c.bears {
		took *= 3
		c.slow++
	}
	c.mu.Unlock()
	time.Sleep(took - time.Millisecond)
	c.l.acked(began, time.Now())
}

// recovery sends one request after the other until ctx is done.
func (c *traffic) recovery(ctx context.Context) {
	for ctx.Err() == nil && c.l.enter(ctx, nil) == nil {
		entered := time.Now()
		c.mu.Lock()
		c.passed, c.in = c.passed+1, c.in+1
		c.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		c.mu.Lock()
		c.in--
		c.mu.Unlock()
		c.l.leave(entered, time.Now())
	}
}

// flow lets it go on for so long, and counts anew.
func (c *traffic) flow(backlog bool, d time.Duration) {
	c.acks, c.slow, c.passed = 0, 0, 0
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		if backlog {
			wg.Go(func() { c.recovery(ctx) })
		}
	}
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(5 * time.Millisecond)
		if c.live {
			wg.Go(func() { c.agent(i) })
		}
	}
	wg.Wait()
}

// atMost requires that no more than a part of the acks was slow.
func (c *traffic) atMost(t *testing.T, part float64) {
	t.Helper()
	slow := float64(c.slow) / float64(c.acks)
	t.Logf("%.2f %% of %d acks slow, window %.2f, 1 ack in 100 above %s", 100*slow, c.acks, c.l.open(), c.l.quiet)
	require.LessOrEqual(t, slow, part)
}

// A backlog drains beside agents as fast as they bear: 1 of their acks in 100 may
// be slow. Before and after them it has all the room there is.
func TestRecoveryPassesAsAgentsBear(t *testing.T) {
	for name, row := range map[string]struct {
		bears      int
		most, slow float64 // parts of what the backlog could be sent in, and of the acks
		least      float64
	}{
		"a gateway that has room for all of it": {8, 1.01, 0, 0.95},
		"one that has room for two":             {2, 0.5, 0.02, 0.15},
		"one that has none":                     {0, 1.1 / 8 / 8, 0.25, 0.9 / 8 / 8},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &traffic{bears: row.bears}
				const all = 8 * 200 // requests of 5 ms in a second, 8 at a time
				c.flow(true, 10*time.Second)
				require.InDelta(t, 10*all, c.passed, all, "nobody else is there")

				c.live = true
				c.flow(false, 10*time.Second)
				require.Zero(t, c.passed+c.slow)
				c.flow(true, time.Minute) // finds the measure
				c.flow(true, time.Minute)
				part := float64(c.passed) / (60 * all)
				t.Logf("%.1f %% of the backlog's speed", 100*part)
				require.LessOrEqual(t, part, row.most)
				require.GreaterOrEqual(t, part, row.least, "and it does not starve")
				c.atMost(t, row.slow)

				c.live = false
				c.flow(true, 2*liveFor)
				c.flow(true, 10*time.Second)
				require.InDelta(t, 10*all, c.passed, all, "they have left")
			})
		})
	}
}

// Whatever was quick before, a Kafka that has become slow for everybody becomes
// the new measure.
func TestTheQuietMeasureFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &traffic{bears: 8, live: true}
		c.flow(false, 10*time.Second)
		for range 2000 {
			began := time.Now()
			time.Sleep(50 * time.Millisecond)
			c.l.acked(began, time.Now())
		}
		require.InDelta(t, 50, c.l.quiet.Milliseconds(), 5)
		for range 12000 {
			began := time.Now()
			time.Sleep(2 * time.Millisecond)
			c.l.acked(began, time.Now())
		}
		require.InDelta(t, 2, c.l.quiet.Milliseconds(), 1)
	})
}

// Whoever has no room before the answer is due gets the answer.
func TestTheLaneEndsWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lane
		for range int(widest) {
			require.Nil(t, l.enter(t.Context(), nil))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		require.Equal(t, errBusy, l.enter(ctx, nil))
		require.Equal(t, time.Minute, time.Since(begin))
		l.leave(begin, time.Now())
		require.Nil(t, l.enter(t.Context(), nil))
	})
}

// window returns the lifeline-window of an answer.
func (r reply) window() string {
	if r.httpCode != 0 {
		return r.header.Get(frame.HeaderWindow)
	}
	return strings.Join(r.trailer.Get(frame.HeaderWindow), "|")
}

// Two receivers of a process share its lane: an ack of the public one narrows what
// the other asks recovery for.
func TestAcksAskForAWindow(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	set := receivertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = tel.NewTelemetrySettings()
	cfg := testConfig(func(c *Config) { c.TrustFlareHeaders = true })
	r, err := NewFactory().CreateLogs(t.Context(), set, cfg, &kafka{})
	require.NoError(t, err)
	theirs, ours := startPassthrough(t, &kafka{}), startReceiver(t, r)
	require.Same(t, theirs.lane, ours.lane)
	own := &lane{}
	theirs.lane, ours.lane, ours.telemetry.lane = own, own, own
	raw := encoded(t, frame.Traces, 3)
	for _, protocol := range protocols {
		own.mu.Lock()
		own.live = time.Time{} // no agent has sent yet
		own.mu.Unlock()
		r := send(t.Context(), ours, protocol, raw)
		require.Equal(t, codes.OK, r.status.Code())
		require.Equal(t, "16", r.window())

		r = send(t.Context(), theirs, protocol, raw)
		require.Equal(t, codes.OK, r.status.Code())
		require.Empty(t, r.window(), "agents send as their ring bids them")
		own.mu.Lock()
		require.NotZero(t, own.live)
		own.live = own.live.Add(time.Hour) // however long the next request takes
		own.mu.Unlock()

		r = send(t.Context(), ours, protocol, raw)
		require.Equal(t, codes.OK, r.status.Code())
		require.Equal(t, "1", r.window())
	}
	m, err := tel.GetMetric("otelcol_lifeline_recovery_window")
	require.NoError(t, err)
	require.NotNil(t, m.Data)
}

// An agent's request that Kafka refuses is no ack, and no measure.
func TestOnlyAcksAreMeasured(t *testing.T) {
	k := &kafka{script: func(context.Context, int) error { return errDown }}
	g := startPassthrough(t, k)
	g.lane = &lane{}
	requireUnavailable(t, send(t.Context(), g, "http", encoded(t, frame.Traces, 3)))
	require.Len(t, k.all(), 1)
	require.Zero(t, g.lane.live)
}

// One stall is no measure: neither the ack of it, nor those that stood behind it.
func TestAStallIsNoMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &traffic{bears: 2, live: true}
		c.flow(false, 10*time.Second)
		began := time.Now()
		time.Sleep(10 * time.Second)
		for range 100 {
			c.l.acked(began, time.Now())
		}
		c.flow(true, 2*time.Minute)
		c.flow(true, 2*time.Minute)
		c.atMost(t, 0.02)
	})
}

// What was measured while Kafka was slow for everybody does not stand for ever,
// though recovery has not stopped since.
func TestTheQuietMeasureHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &traffic{bears: 2, live: true}
		for range 100 {
			began := time.Now()
			time.Sleep(100 * time.Millisecond)
			c.l.acked(began, time.Now())
		}
		c.l.window = widest
		c.flow(true, 15*time.Minute)
		c.flow(true, 2*time.Minute)
		c.atMost(t, 0.02)
	})
}

// The measure is the same however many requests are on their way at a time.
func TestTheQuietMeasureOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lane
		for i := range 100_000 {
			time.Sleep(time.Millisecond)
			took := time.Duration(500+i*7919%1000) * time.Millisecond // evenly up to 1.5 s
			l.acked(time.Now().Add(-took), time.Now())
		}
		require.InDelta(t, 1450, l.quiet.Milliseconds(), 100)
	})
}

// An agent whose acks take longer than liveFor is an agent that sends.
func TestSlowAcksAreAnAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lane
		for range 20 {
			began := time.Now()
			time.Sleep(liveFor + time.Second)
			l.acked(began, time.Now())
		}
		time.Sleep(liveFor + time.Second/2)
		require.Less(t, l.open(), 1.0)
	})
}
