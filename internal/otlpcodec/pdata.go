package otlpcodec

import (
	"encoding/json"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// EncodeTraces encodes td, which it does not change, into export requests of at
// most maxSize bytes each (0: no limit), in the order of the spans. Larger are
// only a single span and what SplitTo leaves whole. No spans give no pieces.
// They may be in s and are valid until its next use.
func (s *Scratch) EncodeTraces(td ptrace.Traces, maxSize int64) ([]Piece, error) {
	return s.encode(frame.Traces, int64(td.SpanCount()), maxSize, func() ([]byte, error) {
		return (&ptrace.ProtoMarshaler{}).MarshalTraces(td)
	})
}

// EncodeMetrics does for metrics, counted in data points, what EncodeTraces does.
func (s *Scratch) EncodeMetrics(md pmetric.Metrics, maxSize int64) ([]Piece, error) {
	return s.encode(frame.Metrics, int64(md.DataPointCount()), maxSize, func() ([]byte, error) {
		return (&pmetric.ProtoMarshaler{}).MarshalMetrics(md)
	})
}

// EncodeLogs does for log records what EncodeTraces does for spans.
func (s *Scratch) EncodeLogs(ld plog.Logs, maxSize int64) ([]Piece, error) {
	return s.encode(frame.Logs, int64(ld.LogRecordCount()), maxSize, func() ([]byte, error) {
		return (&plog.ProtoMarshaler{}).MarshalLogs(ld)
	})
}

func (s *Scratch) encode(signal frame.Signal, items, maxSize int64, marshal func() ([]byte, error)) ([]Piece, error) {
	if items == 0 {
		return nil, nil
	}
	raw, err := marshal()
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", signal, err)
	}
	return s.Divide(signal, Piece{Raw: raw, Items: items}, maxSize), nil
}

// DecodeTraces decodes an export request.
func DecodeTraces(raw []byte) (ptrace.Traces, error) {
	r := ptraceotlp.NewExportRequest()
	err := unmarshal(frame.Traces, r, raw)
	return r.Traces(), err
}

// DecodeMetrics decodes an export request.
func DecodeMetrics(raw []byte) (pmetric.Metrics, error) {
	r := pmetricotlp.NewExportRequest()
	err := unmarshal(frame.Metrics, r, raw)
	return r.Metrics(), err
}

// DecodeLogs decodes an export request.
func DecodeLogs(raw []byte) (plog.Logs, error) {
	r := plogotlp.NewExportRequest()
	err := unmarshal(frame.Logs, r, raw)
	return r.Logs(), err
}

// exportRequest is what the export requests of all signals can do.
type exportRequest interface {
	UnmarshalJSON([]byte) error
	UnmarshalProto([]byte) error
	MarshalProto() ([]byte, error)
}

func newExportRequest(s frame.Signal) (exportRequest, error) {
	switch s {
	case frame.Traces:
		return ptraceotlp.NewExportRequest(), nil
	case frame.Metrics:
		return pmetricotlp.NewExportRequest(), nil
	case frame.Logs:
		return plogotlp.NewExportRequest(), nil
	case frame.Profiles:
		return pprofileotlp.NewExportRequest(), nil
	}
	return nil, fmt.Errorf("no export request for %s", s)
}

// FromJSON turns an OTLP/JSON export request into its protobuf form. Errors
// about the JSON have ErrMalformed in their chain.
func FromJSON(s frame.Signal, data []byte) ([]byte, error) {
	r, err := newExportRequest(s)
	if err != nil {
		return nil, err
	}
	if err := checkJSON(data); err != nil {
		return nil, malformed(err)
	}
	if err := malformed(r.UnmarshalJSON(data)); err != nil {
		return nil, err
	}
	return r.MarshalProto()
}

var errNoName = errors.New("a field without a name")

// checkJSON makes up for what pdata's reader of JSON does not look at: nesting,
// which the standard library limits to 10,000, and what follows the value. An
// empty name ends an object for it, so all that stands behind would be lost.
func checkJSON(data []byte) error {
	var top map[string]passed
	if err := json.Unmarshal(data, &top); err != nil {
		return err
	}
	if _, ok := top[""]; ok {
		return errNoName
	}
	return nil
}

// passed is a JSON value that was read over, not kept.
type passed struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (passed) UnmarshalJSON([]byte) error { return nil }

// Modernize re-encodes a request that Count refused with ErrDeprecated. Fields
// that this version of OTLP does not know are lost on the way.
func Modernize(s frame.Signal, raw []byte) ([]byte, error) {
	r, err := newExportRequest(s)
	if err != nil {
		return nil, err
	}
	if err := unmarshal(s, r, raw); err != nil {
		return nil, err
	}
	return r.MarshalProto()
}

// unmarshal decodes what Count has checked. pdata has no limit of depth: one
// request of nothing but nested values would end the process.
func unmarshal(s frame.Signal, r exportRequest, raw []byte) error {
	if _, err := Count(s, raw); err != nil && !errors.Is(err, ErrDeprecated) {
		return err
	}
	return malformed(r.UnmarshalProto(raw))
}

func malformed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}
