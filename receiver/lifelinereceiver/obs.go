package lifelinereceiver

import (
	"context"

	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// observer counts accepted and refused items of one protocol.
type observer struct{ report *receiverhelper.ObsReport }

func newObserver(set receiver.Settings, transport string) (observer, error) {
	report, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: transport, ReceiverCreateSettings: set,
	})
	return observer{report}, err
}

func (o observer) start(ctx context.Context, s frame.Signal) context.Context {
	switch s {
	case frame.Traces:
		return o.report.StartTracesOp(ctx)
	case frame.Metrics:
		return o.report.StartMetricsOp(ctx)
	case frame.Logs:
		return o.report.StartLogsOp(ctx)
	default:
		return o.report.StartProfilesOp(ctx)
	}
}

func (o observer) end(ctx context.Context, s frame.Signal, format string, items int64, err error) {
	end := o.report.EndProfilesOp
	switch s {
	case frame.Traces:
		end = o.report.EndTracesOp
	case frame.Metrics:
		end = o.report.EndMetricsOp
	case frame.Logs:
		end = o.report.EndLogsOp
	}
	end(ctx, format, int(items), err)
}
