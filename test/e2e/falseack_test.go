package e2e

import (
	"bufio"
	"context"
	"debug/buildinfo"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/mod/semver"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/stack"
	"github.com/otel-lifeline/lifeline/test/trial"
)

// forgetful brings a broker into the state in which an old franz-go acks what
// Kafka does not have. The next record is written and its answer lost. Every try
// to write it again is refused, until its producer gives up and forgets that its
// sequence number is used. The record after it gets that number: a broker takes it
// for a copy of the first one, says "I have it", and stores nothing.
//
// The function returned ends the refusals and says how many there were.
func forgetful(b *kafka.Broker) (end func() int) {
	refusals := make(chan *kfake.FaultHandle, 1)
	b.LoseAnswer(func() {
		refusals <- b.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1})
	})
	return func() int {
		refused := <-refusals
		refused.Remove()
		return refused.Hits()
	}
}

// onePartition gives the topic of traces a single partition: sequence numbers
// count by partition.
func onePartition(t *testing.T, b *kafka.Broker) {
	t.Helper()
	require.NoError(t, b.Cluster().DeleteTopic(kafka.TracesTopic))
	require.NoError(t, b.Cluster().CreateTopic(kafka.TracesTopic, 1, nil))
}

// TestFalseAckOfAnOldClient shows the fault itself: the Kafka client that the
// exporter would bring along says that B is written, and Kafka has no B.
func TestFalseAckOfAnOldClient(t *testing.T) {
	binary := buildOldClient(t)
	ctx := env.Within(t, 60*time.Second)
	b, err := kafka.Start(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(b.Close)
	onePartition(t, b)
	produce := oldClient(ctx, t, binary, b.Addr(), kafka.TracesTopic)

	require.Contains(t, produce("warm-up"), "acked")
	end := forgetful(b)
	require.Contains(t, produce("A"), "failed")
	require.NotZero(t, end(), "nothing was refused")
	require.Contains(t, produce("B"), "acked")
	require.Contains(t, produce("C"), "acked")

	records, err := b.Read(ctx)
	require.NoError(t, err)
	var values []string
	for _, r := range records {
		values = append(values, string(r.Value))
	}
	require.Equal(t, []string{"warm-up", "A", "C"}, values, "B was acked")
}

// buildOldClient builds the command of test/falseack. How long that takes is no
// matter of the test's.
func buildOldClient(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "falseack")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".") //nolint:gosec // our own path
	build.Dir = filepath.Join("..", "falseack")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

// oldClient starts the command. The function returned gives it a record and
// returns what it says of it.
func oldClient(ctx context.Context, t *testing.T, binary string, args ...string) (produce func(string) string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, binary, args...) //nolint:gosec // built above
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	answers, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(answers)
	return func(record string) string {
		_, err := io.WriteString(in, record+"\n")
		require.NoError(t, err)
		require.True(t, lines.Scan(), "the client has ended")
		return lines.Text()
	}
}

// TestNoFalseAck plays the same with the shipped gateway: whatever it acks is in
// Kafka.
func TestNoFalseAck(t *testing.T) {
	ctx := env.Within(t, 60*time.Second)
	tr := trial.New(t, stack.Options{Otelcol: otelcol, Configs: configs}, trial.Soon, "yaml:exporters::kafka::timeout: 2s")
	onePartition(t, tr.Kafka)
	tr.Start(ctx)
	// What comes again joins the write in progress, if there is one.
	batchID := func() []string { return []string{frame.HeaderBatchID, string(frame.NewBatchID())} }
	tr.SendUntilAcked(ctx, tr.Request(1), batchID()...)
	failed := func(ctx context.Context) (float64, error) {
		metrics, err := tr.Gateway.Scrape(ctx)
		return metrics.Sum("otelcol_exporter_send_failed_log_records"), err
	}
	warmUp, err := failed(ctx)
	require.NoError(t, err)

	end := forgetful(tr.Kafka)
	answers := tr.Both(ctx, [2][]byte{tr.Request(1), nil}) // of nothing there is nothing to write
	require.True(t, answers[0].KeepsData(), answers[0])
	require.NoError(t, proc.Until(ctx, 50*time.Millisecond, func(ctx context.Context) (bool, error) {
		now, err := failed(ctx)
		return err == nil && now == warmUp+1, err
	}), "the exporter has not given up")
	require.NotZero(t, end(), "nothing was refused")

	for range 2 { // B and C
		tr.SendUntilAcked(ctx, tr.Request(1), batchID()...)
	}
	row := tr.Settle(ctx)
	require.Zero(t, row.Duplicates)
}

// TestKafkaClientOfTheBinary: the exporter asks for an older client by itself, so
// the version is a decision of ours that a change of dependencies could undo.
func TestKafkaClientOfTheBinary(t *testing.T) {
	const module, fixed = "github.com/twmb/franz-go", "v1.22.2"
	info, err := buildinfo.ReadFile(otelcol)
	require.NoError(t, err)
	for _, dep := range info.Deps {
		if dep.Path == module {
			require.GreaterOrEqual(t, semver.Compare(dep.Version, fixed), 0, "%s %s acks what Kafka does not have", module, dep.Version)
			require.Nil(t, dep.Replace)
			return
		}
	}
	require.Fail(t, "the binary has no "+module)
}
