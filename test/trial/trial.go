// Package trial puts a fault between a gateway and its Kafka and judges the
// gateway by what clients see: the shipped config in the built binary, clients
// that know nothing but the wire, and a Collector of stock parts whose data must
// all be in Kafka in the end.
//
// A Trial starts processes and owns them until the test ends. Request may be
// called concurrently, nothing else.
package trial

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/otel-lifeline/lifeline/internal/audit"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

//go:embed sender.yaml
var senderConfig []byte

// Soon is the shipped gateway's clock made short: whatever Kafka's client does
// for 30 s, a client has its answer after a second.
const Soon = "yaml:receivers::lifeline: {ack_timeout: 1s, admission: {max_wait: 500ms}}\n" +
	"receivers::lifeline/recovery: {ack_timeout: 1s, admission: {max_wait: 500ms}}"

// Trial is a gateway with a client of every kind in front of it.
type Trial struct {
	*stack.Stack
	T      *testing.T
	Sender *stack.Role // of stock parts; it has an exporter for each protocol

	shipped int    // how many of the gateway's configs are not the trial's own
	senses  string // where the sender listens
	conn    *grpc.ClientConn

	mu     sync.Mutex   // guards the following
	number uint64       // of the last request made
	ledger audit.Ledger // of all that was sent: it must be in Kafka in the end
}

// New describes a gateway and a stock sender in front of it, and starts neither.
// configs come over the shipped one.
func New(t *testing.T, o stack.Options, configs ...string) *Trial {
	t.Helper()
	o.Dir = t.TempDir()
	s, err := stack.NewGateway(o)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, err)
	return Over(t, s, configs...)
}

// Over is New for the gateway of a stack that is there.
func Over(t *testing.T, s *stack.Stack, configs ...string) *Trial {
	t.Helper()
	tr := &Trial{Stack: s, T: t, shipped: len(s.Gateway.Configs)}
	s.Gateway.Configs = append(s.Gateway.Configs, configs...)
	var err error
	tr.Sender, tr.senses = sender(t, s)
	tr.conn, err = grpc.NewClient(s.Addr.GatewayGRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.conn.Close() })
	return tr
}

// sender adds a Collector of stock parts and returns where it listens.
func sender(t *testing.T, s *stack.Stack) (*stack.Role, string) {
	t.Helper()
	addrs, err := proc.FreeAddrs(1)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.Path("sender.yaml"), senderConfig, 0o600))
	r, err := s.Role("sender", s.Path("sender.yaml"), "IN_HTTP="+addrs[0], "OUT_GRPC="+s.Addr.GatewayGRPC, "OUT_HTTP="+s.Addr.GatewayHTTP)
	require.NoError(t, err)
	return r, addrs[0]
}

// Start starts gateway and sender.
func (tr *Trial) Start(ctx context.Context) {
	tr.T.Helper()
	require.NoError(tr.T, tr.Gateway.Start(ctx))
	require.NoError(tr.T, tr.Sender.Start(ctx))
}

// WarmUp brings one request through, so that the gateway knows its Kafka when
// the fault comes.
func (tr *Trial) WarmUp(ctx context.Context) {
	tr.T.Helper()
	tr.SendUntilAcked(ctx, tr.Request(1)) // a cluster that has just started is slow
}

// Forget takes what was sent so far out of the judgement, for a fault that
// removes it from Kafka.
func (tr *Trial) Forget() { tr.ledger = audit.Ledger{} }

// RestartGateway stops the gateway and starts it with these configs over the
// shipped one.
func (tr *Trial) RestartGateway(ctx context.Context, configs ...string) {
	tr.T.Helper()
	require.NoError(tr.T, tr.Gateway.Stop(ctx))
	tr.Gateway.Configs = append(tr.Gateway.Configs[:tr.shipped], configs...)
	require.NoError(tr.T, tr.Gateway.Start(ctx))
}

// Request makes a request of spans that differ from all others, and notes that
// Kafka must hold it copies times in the end.
func (tr *Trial) Request(copies int) []byte {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.number++
	request := stack.Spans(tr.number, time.Now())
	for range copies {
		if err := tr.ledger.Accept(frame.Traces, request); err != nil {
			panic("trial: internal error: " + err.Error()) // spans made by the stack can be decoded
		}
	}
	return request
}

// Settle waits until all that was sent is in Kafka, and requires that nothing
// else is, and that every copy can be told by its batch id. It returns the
// comparison.
func (tr *Trial) Settle(ctx context.Context) audit.Row {
	tr.T.Helper()
	row, err := kafka.Await(ctx, tr.Brokers, frame.Traces, &tr.ledger)
	require.NoError(tr.T, err)
	require.True(tr.T, row.OK(), "%+v", row)
	require.Equal(tr.T, row.Duplicates, row.Marked, "a copy without the batch id of the first: %+v", row)
	return row
}

// RequireNothingDropped asserts that the stock sender has thrown nothing away.
func (tr *Trial) RequireNothingDropped() {
	tr.T.Helper()
	for _, line := range tr.Sender.P.Lines() {
		require.NotContains(tr.T, strings.ToLower(line), "dropping data")
	}
}

// waitRetries waits until both exporters of the stock sender have met the fault.
func (tr *Trial) waitRetries(ctx context.Context) error {
	for _, id := range []string{"otlp_grpc", "otlp_http"} {
		if _, err := tr.Sender.P.WaitLine(ctx, "Exporting failed. Will retry", fmt.Sprintf("%q", id)); err != nil {
			return err
		}
	}
	return nil
}
