package lifelineexporter

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// call is the whole life of one frame in delivery, dressed as a request of
// exporterhelper: so the Collector's own otelcol_exporter_sent_* counters and
// spans see one request per frame, and count it as sent only when it was acked.
type call struct {
	items int64
	do    func(context.Context) error
}

// ItemsCount implements xexporterhelper.Request.
func (c *call) ItemsCount() int { return int(c.items) }

// BytesSize implements xexporterhelper.Request. Nothing asks: there is no queue.
func (*call) BytesSize() int { return 0 }

var errNoQueue = errors.New("frames are never merged outside the ring")

// MergeSplit implements xexporterhelper.Request. Nothing asks: there is no queue.
func (*call) MergeSplit(context.Context, int, exporterhelper.RequestSizerType, xexporterhelper.Request) ([]xexporterhelper.Request, error) {
	return nil, errNoQueue
}

// push implements xexporterhelper.RequestConsumeFunc.
func push(ctx context.Context, r xexporterhelper.Request) error { return r.(*call).do(ctx) }

type callKey struct{}

// fromContext converts nothing: the frame is on its way in the context.
func fromContext[T any](ctx context.Context, _ T) (xexporterhelper.Request, error) {
	return ctx.Value(callKey{}).(*call), nil
}

// runCall runs one call through the helper of its signal.
type runCall func(context.Context, *call) error

// newRunCalls makes the inner exporter of every signal that Lifeline sends: no
// queue, no retry, no timeout, no log. Delivery does all that, once per endpoint
// and not per frame.
func newRunCalls(ctx context.Context, set exporter.Settings) (runs [frame.NumSignals]runCall, err error) {
	set.Logger = zap.NewNop()
	noTimeout := exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{})
	traces, err := xexporterhelper.NewTracesRequest(ctx, set, fromContext[ptrace.Traces], push, noTimeout)
	if err != nil {
		return runs, err
	}
	metrics, err := xexporterhelper.NewMetricsRequest(ctx, set, fromContext[pmetric.Metrics], push, noTimeout)
	if err != nil {
		return runs, err
	}
	logs, err := xexporterhelper.NewLogsRequest(ctx, set, fromContext[plog.Logs], push, noTimeout)
	if err != nil {
		return runs, err
	}
	runs[frame.Traces] = func(ctx context.Context, c *call) error {
		return traces.ConsumeTraces(context.WithValue(ctx, callKey{}, c), ptrace.NewTraces())
	}
	runs[frame.Metrics] = func(ctx context.Context, c *call) error {
		return metrics.ConsumeMetrics(context.WithValue(ctx, callKey{}, c), pmetric.NewMetrics())
	}
	runs[frame.Logs] = func(ctx context.Context, c *call) error {
		return logs.ConsumeLogs(context.WithValue(ctx, callKey{}, c), plog.NewLogs())
	}
	return runs, nil
}
