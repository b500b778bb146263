package lifelinereceiver

import (
	"github.com/otel-lifeline/lifeline/internal/status"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// tables is what the status page shows of the gateway.
func (g *gateway) tables() []*status.Table {
	total := g.inflight.Totals()
	var window status.Value
	if g.cfg.TrustFlareHeaders {
		window = status.Decimal(g.lane.open())
	}
	requests := int64(0)
	for _, n := range total.Requests {
		requests += n
	}
	sums := status.NewTable("requests", "in flight", "bytes", "of at most", "oldest", "oldest write", "window for recovery").Add(
		status.Count(requests), status.Bytes(total.Bytes), status.Bytes(int64(g.cfg.Admission.MaxInflight)),
		status.Age(total.OldestAge), status.Age(total.OldestWrite), window)

	each := status.NewTable("requests in flight", "age", "stage", "signal", "bytes", "agent", "peer")
	for _, r := range g.inflight.Snapshot() {
		each.Add(status.Age(r.Age), status.Text(r.Stage.String()), status.Text(r.Signal.String()), status.Bytes(r.Bytes),
			status.Text(r.Agent), status.Text(r.Peer))
	}
	return []*status.Table{trouble.Table(&g.health.troubles, &g.health.worries), sums, each}
}
