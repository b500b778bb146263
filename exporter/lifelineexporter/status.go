package lifelineexporter

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/status"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// tables is what the status page shows of r.
func (c *core) tables(r reading) []*status.Table {
	causes := status.NewTable("failed attempts since the last ack", "cause", "attempts")
	for cause, n := range status.Sorted(r.items.Causes) {
		causes.Add(status.Text(string(cause)), status.Count(n))
	}
	ring := status.NewTable("ring", "used", "capacity", "frames", "oldest item", "flared at").Add(
		status.Bytes(r.items.Used), status.Bytes(r.items.Capacity), status.Count(r.items.Frames),
		status.Age(r.items.OldestAge), status.Age(c.cfg.Ring.MaxAge))

	items := status.NewTable("items", "signal", "accepted", "delivered", "flared", "rejected", "lost", "held", "late acks")
	fates := status.NewTable("items that the gateway did not take", "signal", "fate", "reason", "items")
	for s := range frame.Signal(frame.NumSignals) {
		if r.signals[s] {
			addItems(items, fates, s.String(), r.items.Signals[s])
		}
	}
	tables := []*status.Table{trouble.Table(&c.troubles), causes, ring, items, fates}
	if r.hasFlare {
		tables = append(tables, r.flares(), status.NewTable("fallback", "ready", "last drill stored").Add(
			status.Whether(r.ready), status.At(r.items.DrillPut)))
	}
	return append(tables, r.certificates())
}

// addItems adds what became of the items of a signal.
func addItems(items, fates *status.Table, signal string, n delivery.Items) {
	var flared, lost int64
	for reason, n := range status.Sorted(n.Flared) {
		flared += n
		fates.Add(status.Text(signal), status.Text("flared"), status.Text(string(reason)), status.Count(n))
	}
	for reason, n := range status.Sorted(n.Lost) {
		lost += n
		fates.Add(status.Text(signal), status.Text("lost"), status.Text(string(reason)), status.Count(n))
	}
	items.Add(status.Text(signal), status.Count(n.Accepted), status.Count(n.Delivered), status.Count(flared),
		status.Count(n.Rejected), status.Count(lost), status.Count(n.Held), status.Count(n.LateAcks))
}

// flares counts flares by what they were for and how they ended.
func (r reading) flares() *status.Table {
	all := slices.SortedFunc(maps.Keys(r.items.Flares), func(a, b delivery.FlareOutcome) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Outcome, b.Outcome))
	})
	table := status.NewTable("flares", "reason", "outcome", "flares")
	for _, f := range all {
		table.Add(status.Text(string(f.Reason)), status.Text(f.Outcome), status.Count(r.items.Flares[f]))
	}
	return table
}

// certificates names those whose end is known.
func (r reading) certificates() *status.Table {
	table := status.NewTable("certificates", "of", "ends")
	for of, ends := range status.Sorted(map[string]time.Time{"the gateway": r.gateway, "this client": r.client, "the signing key": r.signingAt}) {
		if !ends.IsZero() {
			table.Add(status.Text(of), status.At(ends))
		}
	}
	return table
}
