package flarerecoveryextension

import (
	"cmp"
	"maps"
	"slices"

	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/status"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// tables is what the status page shows of recovery.
func tables(troubles *trouble.List, s recovery.Snapshot) []*status.Table {
	bucket := status.NewTable("bucket", "pending", "oldest pending", "last listed", "shards here").Add(
		status.Count(s.Pending), status.Age(s.OldestPending), status.At(s.LastPass), status.Count(s.Shards))
	recovered := status.NewTable("recovered", "flares", "items", "bytes", "items rejected", "drills").Add(
		status.Count(s.RecoveredFlares), status.Count(s.RecoveredItems), status.Bytes(s.RecoveredBytes),
		status.Count(s.RejectedItems), status.Count(s.DrillCount))
	reported := status.NewTable("what agents tell", "items lost", "flares given up", "flares missing", "agents that run twice")
	if s.AllRead {
		reported.Add(status.Count(s.ReportedLost), status.Count(s.Unresolved), status.Count(s.SeqGaps), status.Count(s.Clones))
	}
	opened := status.NewTable("opened with", "identity", "times")
	for identity, n := range status.Sorted(s.Opened) {
		opened.Add(status.Text(identity), status.Count(n))
	}
	return append([]*status.Table{trouble.Table(troubles), bucket, unsettled(s), recovered, reported}, append(fleet(s.Fleet), opened)...)
}

// unsettled counts the flares that need a person, by what keeps them.
func unsettled(s recovery.Snapshot) *status.Table {
	table := status.NewTable("not recovered", "state", "reason", "flares")
	for reason, n := range status.Sorted(s.Waiting) {
		table.Add(status.Text("waiting"), status.Text(reason), status.Count(n))
	}
	for step, n := range status.Sorted(s.Stuck) {
		table.Add(status.Text("stuck"), status.Text(step), status.Count(n))
	}
	for reason, n := range status.Sorted(s.Quarantined) {
		table.Add(status.Text("quarantined"), status.Text(reason), status.Count(n))
	}
	return table
}

// fleet tells which agents flare, and whose drills are overdue.
func fleet(f recovery.Fleet) []*status.Table {
	outbreaks := status.NewTable("outbreaks", "agents", "of", "cause", "since")
	for _, o := range f.Outbreaks {
		outbreaks.Add(status.Count(o.Agents), status.Count(f.Known), status.Text(o.Cause), status.At(o.Since))
	}
	top := status.NewTable("agents that flare", "agent", "flares", "items", "last reason", "last cause", "first", "last")
	for _, a := range f.Top {
		top.Add(status.Text(a.Principal), status.Count(a.Flares), status.Count(a.Items), status.Text(string(a.Reason)),
			status.Text(a.Cause), status.At(a.First), status.At(a.Last))
	}
	top.More += f.Flaring - len(f.Top)

	drills := status.NewTable("last drills, the oldest first", "agent", "made")
	for _, agent := range slices.SortedFunc(maps.Keys(f.Drills), func(a, b string) int {
		return cmp.Or(f.Drills[a].Compare(f.Drills[b]), cmp.Compare(a, b))
	}) {
		drills.Add(status.Text(agent), status.At(f.Drills[agent]))
	}
	return []*status.Table{outbreaks, top, drills}
}
