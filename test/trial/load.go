package trial

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// workers is how many requests of each kind are on their way at any time.
const workers = 4

// pacedSender makes the stock sender answer only when the gateway has acked: so
// its answers are acks, and it takes no more than the gateway does.
const pacedSender = "yaml:exporters::otlp_grpc::sending_queue::enabled: false\nservice::pipelines::traces::exporters: [otlp_grpc]"

// quickAgent makes an agent probe its gateway twice a second.
const quickAgent = "yaml:exporters::lifeline::retry_on_failure: {initial_interval: 100ms, max_interval: 500ms}"

// StartAll starts gateway, paced sender and agent, for a load.
func (tr *Trial) StartAll(ctx context.Context) {
	tr.T.Helper()
	tr.Sender.Configs = append(tr.Sender.Configs, pacedSender)
	tr.Start(ctx)
	if tr.Agent != nil {
		tr.Agent.Configs = append(tr.Agent.Configs, quickAgent)
		tr.Agent.Env = append(tr.Agent.Env, "LIFELINE_SCRAPE_INTERVAL=1h")
		require.NoError(tr.T, tr.Agent.Start(ctx))
	}
}

// Load sends to the gateway all the time, by every way there is: directly over
// gRPC and HTTP, through the stock sender, and through a Lifeline agent if the
// stack has one. Each request goes until it is acked, and no longer. The methods
// may be called concurrently.
type Load struct {
	Acked   atomic.Int64 // requests that the gateway has acked, ours and the stock sender's
	Refused atomic.Int64 // answers to ours that were none, or no acks

	tr   *Trial
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	more chan struct{} // closed and replaced at every ack
}

// StartLoad starts the load. It ends with Stop.
func (tr *Trial) StartLoad(ctx context.Context) *Load {
	goOn, stop := context.WithCancel(ctx)
	l := &Load{tr: tr, stop: stop, more: make(chan struct{})}
	for range workers {
		l.wg.Go(func() {
			for goOn.Err() == nil {
				l.round(ctx)
			}
		})
	}
	return l
}

// Stop lets every request come to its end.
func (l *Load) Stop() {
	l.stop()
	l.wg.Wait()
}

// round sends one request each way and waits for every ack.
func (l *Load) round(ctx context.Context) {
	l.untilAcked(ctx, func(ctx context.Context, request []byte) Answer { return viaGRPC(ctx, l.tr.conn, request) })
	l.untilAcked(ctx, func(ctx context.Context, request []byte) Answer {
		return viaHTTP(ctx, l.tr.Addr.GatewayHTTP, request)
	})
	l.untilAcked(ctx, func(ctx context.Context, request []byte) Answer { return viaHTTP(ctx, l.tr.senses, request) })
	if l.tr.Agent != nil { // its answer is no ack of the gateway's
		_, _, _ = stack.Post(ctx, l.tr.Addr.AgentHTTP, frame.Traces, l.tr.Request(1))
	}
}

func (l *Load) untilAcked(ctx context.Context, send func(context.Context, []byte) Answer) {
	request := l.tr.Request(1)
	_ = proc.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		if a := send(ctx, request); a.OK() {
			return true, nil
		}
		l.Refused.Add(1)
		return false, nil
	}) // an error is the end of ctx: the request is missing in Kafka then, which the judge sees
	l.Acked.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
}

// Wait waits until n more requests were acked.
func (l *Load) Wait(ctx context.Context, n int64) error {
	for want := l.Acked.Load() + n; ; {
		l.mu.Lock()
		more := l.more
		l.mu.Unlock()
		if l.Acked.Load() >= want {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("%d acks are missing: %w", want-l.Acked.Load(), ctx.Err())
		}
	}
}

// Victim is a process that is killed again and again.
type Victim struct {
	Name   string
	Kill   func(context.Context) error // with SIGKILL; an error unless it died of it
	Revive func(context.Context) error
}

// GatewayVictim is the trial's gateway.
func (tr *Trial) GatewayVictim() Victim {
	return Victim{
		Name: "gateway",
		Kill: func(ctx context.Context) error {
			p := tr.Gateway.P
			tr.Gateway.Kill()
			return p.Killed(ctx)
		},
		Revive: tr.Gateway.Start,
	}
}

// betweenKills is how many acks show that all is well again. Together with the
// requests on their way it makes sure that every kill finds some.
const betweenKills = 40

// Siege kills every victim so many times under load, and judges: every request
// that was acked is in Kafka, byte for byte, and so is everything else that was
// accepted; what is there twice can be told by its batch id.
func (tr *Trial) Siege(ctx context.Context, kills int, victims ...Victim) {
	t := tr.T
	t.Helper()
	load := tr.StartLoad(ctx)
	defer load.Stop()
	for i := range kills {
		for _, v := range victims {
			require.NoError(t, load.Wait(ctx, betweenKills), "before kill %d of %s", i+1, v.Name)
			require.NoError(t, v.Kill(ctx), "kill %d of %s", i+1, v.Name)
			require.NoError(t, v.Revive(ctx), "after kill %d of %s", i+1, v.Name)
		}
	}
	require.NoError(t, load.Wait(ctx, betweenKills))
	load.Stop()
	require.NotZero(t, load.Refused.Load(), "no kill met a request")
	row := tr.Settle(ctx)
	tr.RequireNothingDropped()
	t.Logf("%d kills of each of %d: %d requests acked, %d times refused or cut off; in Kafka %d records, %d of them copies, all marked",
		kills, len(victims), load.Acked.Load(), load.Refused.Load(), row.Kafka, row.Duplicates)
}
