package recovery

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// gate is the shipped gateway in front of a Kafka.
type gate struct {
	*stack.Stack
	mu sync.Mutex // held to read the broker
}

func newGate(t *testing.T) *gate {
	s, err := stack.NewGateway(stack.Options{Otelcol: otelcol, Configs: configs, Dir: t.TempDir()})
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, err)
	require.NoError(t, s.Gateway.Start(env.Within(t, time.Minute)))
	return &gate{Stack: s}
}

// way is recovery on the whole way: from a bucket of its own, in which an agent
// has an account, through the gate, which it shares with others, into Kafka.
type way struct {
	*rig
	*agent
	gate *gate
	ctx  context.Context // its time
}

func (g *gate) newWay(t *testing.T) *way {
	w := &way{rig: newRig(t), gate: g, ctx: env.Within(t, time.Minute)}
	w.agent = w.rig.agent("acme/" + frame.RandomHex())
	w.write("allowed_signers", w.trust())
	w.env = append(w.env, "LIFELINE_FORWARD=http://"+g.Addr.GatewayRecovery)
	return w
}

// good stores a flare that must arrive, and returns its id.
func (w *way) good() string { return w.flare(flare.Expired, w.logs(2), w.logs(3)) }

// inKafka is what of good must be there.
const inKafka = 5

// gone blocks until the flare has left the bucket and whole passes went by since.
func (w *way) gone(id string) {
	w.t.Helper()
	w.passes(0, func(c call) bool { return c.name == "delete flare" && c.flare == id })
}

// passes blocks until three passes have begun after the first call that matches,
// of those behind the first seen.
func (w *way) passes(seen int, match func(call) bool) {
	w.t.Helper()
	w.tap.await(w.ctx, w.t, func(done []call) bool {
		fresh := done[seen:]
		i := slices.IndexFunc(fresh, match)
		return i >= 0 && count(fresh[i:], "list try") >= 3
	})
}

// account compares what the agent's flares held with what Kafka has of the agent.
func (w *way) account() {
	w.t.Helper()
	w.gate.mu.Lock()
	records, err := w.gate.Kafka.Read(w.ctx)
	w.gate.mu.Unlock()
	require.NoError(w.t, err)
	for _, r := range records {
		if kafka.Header(r, frame.HeaderAgent) == w.name {
			id := frame.BatchID(kafka.Header(r, frame.HeaderBatchID))
			require.NoError(w.t, w.sink.ledger.Kafka(frame.Logs, r.Value, id))
		}
	}
	row := w.sink.row()
	require.True(w.t, row.OK() && row.Kafka == inKafka && row.Duplicates == 0, "%+v", row)
}

// waits returns how many objects the process says to wait for a reason.
func (w *way) waits(reason string) int {
	w.t.Helper()
	m, err := proc.Scrape(w.ctx, "http://"+w.metrics+"/metrics")
	require.NoError(w.t, err)
	return int(m.Sum("otelcol_lifeline_recovery_waiting", `reason="`+reason+`"`))
}

// remove deletes an object with root's rights, or a version of it.
func (w *way) remove(key string, version *string) {
	_, err := w.root.DeleteObject(w.t.Context(), &awss3.DeleteObjectInput{Bucket: &w.bucket, Key: aws.String(key), VersionId: version})
	assert.NoError(w.t, err) // also called while the store answers
}
