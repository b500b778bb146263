package recovery

import (
	"errors"
	"fmt"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

// drillAttribute marks the resource of a drill's only record.
const drillAttribute = otlpcodec.DrillAttribute

// maxDrill bounds the telemetry of a drill before it is decoded, which may need
// a hundred times its size.
const maxDrill = 64 << 10

var errDrill = errors.New("a drill holds one log record whose resource is marked " + drillAttribute)

// checkDrill decodes a verified drill. It must hold one marked log record and
// nothing else: what calls itself a drill is not forwarded, so anything more in
// it would be lost.
func checkDrill(fl *flare.Flare) error {
	if len(fl.Frames) != 1 || fl.Frames[0].Signal != frame.Logs {
		return fmt.Errorf("%w, this one holds %d records", errDrill, len(fl.Frames))
	}
	f := fl.Frames[0]
	if f.RawSize > maxDrill {
		return fmt.Errorf("%w, this one holds %d bytes", errDrill, f.RawSize)
	}
	raw, err := otlpcodec.Decompress(f.Stored, f.RawSize)
	if err != nil {
		return err
	}
	logs, err := otlpcodec.DecodeLogs(raw)
	if err != nil {
		return fmt.Errorf("decode the drill: %w", err)
	}
	if logs.LogRecordCount() != 1 {
		return fmt.Errorf("%w, this one holds %d", errDrill, logs.LogRecordCount())
	}
	for _, rl := range logs.ResourceLogs().All() {
		if v, ok := rl.Resource().Attributes().Get(drillAttribute); !ok || !v.Bool() {
			return errDrill
		}
	}
	return nil
}
