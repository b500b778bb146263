package recovery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// What calls itself a drill and holds more is put away, marker and all.
func TestDrills(t *testing.T) {
	unmarked := func(f *frame.Frame, w *world) { *f = w.logs("acme/host-17", 1, "real data") }
	two := func(f *frame.Frame, w *world) {
		ld := drillLogs()
		drillLogs().ResourceLogs().MoveAndAppendTo(ld.ResourceLogs())
		*f = w.frameOf("acme/host-17", ld)
	}
	text := func(f *frame.Frame, w *world) {
		ld := drillLogs()
		ld.ResourceLogs().At(0).Resource().Attributes().PutStr("lifeline.drill", "true")
		*f = w.frameOf("acme/host-17", ld)
	}
	hidden := func(f *frame.Frame, w *world) { // a marked resource beside an unmarked, empty one
		ld := plog.NewLogs()
		ld.ResourceLogs().AppendEmpty().Resource().Attributes().PutBool("lifeline.drill", true)
		ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty().Body().SetStr("real")
		*f = w.frameOf("acme/host-17", ld)
	}
	for name, c := range map[string]struct {
		change func(*frame.Frame, *world)
		state  string
	}{
		"good":             {func(*frame.Frame, *world) {}, "drill"},
		"without its mark": {unmarked, "quarantined bad_drill"},
		"two records":      {two, "quarantined bad_drill"},
		"mark is a string": {text, "quarantined bad_drill"},
		"hidden":           {hidden, "quarantined bad_drill"},
		"undecodable": {func(f *frame.Frame, _ *world) {
			f.Stored = frame.Bytes("\x28\xb5\x2f\xfd\x00\x48 a header, and no block behind it")
		}, "quarantined bad_drill"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				id := w.drill(func(f *frame.Frame) { c.change(f, w) })
				l := w.run(time.Minute)
				require.Equal(t, []string{c.state}, w.states())
				require.Empty(t, w.gateway.requests)
				require.Empty(t, w.under("f/"))
				require.Equal(t, []string{id}, w.under("lifeline/done/"))
				if c.state == "drill" {
					require.EqualValues(t, 1, l.Snapshot().DrillCount)
					require.Contains(t, l.Snapshot().Drills, "acme/host-17")
				} else {
					require.Equal(t, map[string]int64{reasonBadDrill: 1}, l.Snapshot().Quarantined)
				}
			})
		})
	}
}
