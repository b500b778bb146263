package otlpcodec

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// DrillAttribute marks the resource of a drill's only record: a boolean, true.
const DrillAttribute = "lifeline.drill"

// Drill is what the record of a drill tells. It is telemetry of nobody's.
type Drill struct {
	Agent, Boot, Version string
	Time                 time.Time
}

// EncodeDrill returns the one log record of a drill as an export request.
func EncodeDrill(d Drill) (Piece, error) {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	attributes := rl.Resource().Attributes()
	attributes.PutBool(DrillAttribute, true)
	attributes.PutStr("lifeline.agent", d.Agent)
	attributes.PutStr("lifeline.boot", d.Boot)
	attributes.PutStr("lifeline.version", d.Version)
	record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetTimestamp(pcommon.NewTimestampFromTime(d.Time))
	record.SetObservedTimestamp(record.Timestamp())
	record.SetSeverityNumber(plog.SeverityNumberInfo)
	record.SetSeverityText("INFO")
	record.Body().SetStr("A drill: this record proves that a flare of this agent finds its way.")
	pieces, err := new(Scratch).EncodeLogs(ld, 0)
	if err != nil {
		return Piece{}, err
	}
	return pieces[0], nil
}
