package otlpcodec

import (
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// exportResponse is what the export responses of all signals can do.
type exportResponse interface {
	MarshalJSON() ([]byte, error)
	MarshalProto() ([]byte, error)
}

// Response encodes the answer to an export request, as protobuf or as JSON.
// With rejected items it carries a partial_success with the message.
func Response(s frame.Signal, rejected int64, message string, json bool) ([]byte, error) {
	r, err := newExportResponse(s, rejected, message)
	if err != nil {
		return nil, err
	}
	if json {
		return r.MarshalJSON()
	}
	return r.MarshalProto()
}

func newExportResponse(s frame.Signal, rejected int64, message string) (exportResponse, error) {
	switch s {
	case frame.Traces:
		r := ptraceotlp.NewExportResponse()
		if rejected > 0 {
			r.PartialSuccess().SetRejectedSpans(rejected)
			r.PartialSuccess().SetErrorMessage(message)
		}
		return r, nil
	case frame.Metrics:
		r := pmetricotlp.NewExportResponse()
		if rejected > 0 {
			r.PartialSuccess().SetRejectedDataPoints(rejected)
			r.PartialSuccess().SetErrorMessage(message)
		}
		return r, nil
	case frame.Logs:
		r := plogotlp.NewExportResponse()
		if rejected > 0 {
			r.PartialSuccess().SetRejectedLogRecords(rejected)
			r.PartialSuccess().SetErrorMessage(message)
		}
		return r, nil
	case frame.Profiles:
		r := pprofileotlp.NewExportResponse()
		if rejected > 0 {
			r.PartialSuccess().SetRejectedProfiles(rejected)
			r.PartialSuccess().SetErrorMessage(message)
		}
		return r, nil
	}
	return nil, fmt.Errorf("no export response for %s", s)
}
