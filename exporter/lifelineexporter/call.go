package lifelineexporter

import (
	"context"
	"errors"
	"fmt"

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

// newRunCall makes the inner exporter of a signal: no queue, no retry, no
// timeout, no log. Delivery does all that, once per endpoint and not per frame.
func newRunCall(ctx context.Context, set exporter.Settings, s frame.Signal) (runCall, error) {
	set.Logger = zap.NewNop()
	noTimeout := exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{})
	switch s {
	case frame.Traces:
		inner, err := xexporterhelper.NewTracesRequest(ctx, set, fromContext[ptrace.Traces], push, noTimeout)
		return func(ctx context.Context, c *call) error {
			return inner.ConsumeTraces(context.WithValue(ctx, callKey{}, c), ptrace.NewTraces())
		}, err
	case frame.Metrics:
		inner, err := xexporterhelper.NewMetricsRequest(ctx, set, fromContext[pmetric.Metrics], push, noTimeout)
		return func(ctx context.Context, c *call) error {
			return inner.ConsumeMetrics(context.WithValue(ctx, callKey{}, c), pmetric.NewMetrics())
		}, err
	case frame.Logs:
		inner, err := xexporterhelper.NewLogsRequest(ctx, set, fromContext[plog.Logs], push, noTimeout)
		return func(ctx context.Context, c *call) error {
			return inner.ConsumeLogs(context.WithValue(ctx, callKey{}, c), plog.NewLogs())
		}, err
	}
	return nil, fmt.Errorf("the exporter does not take %s", s)
}
