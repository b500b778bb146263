package flarerecoveryextension

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/status"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
)

// Everything that a snapshot counts is on the page, what matters most first.
func TestASnapshotAsTables(t *testing.T) {
	s := recovery.Snapshot{
		Pending: 3, OldestPending: time.Minute, LastPass: time.Unix(100, 0), Shards: 16,
		Waiting: map[string]int{"unknown_signer": 4, "audience": 5}, Stuck: map[string]int{"delete": 6},
	}
	s.Settled = recovery.Settled{
		RecoveredFlares: 7, RecoveredItems: 8, RecoveredBytes: 9, RejectedItems: 10, DrillCount: 11,
		Quarantined: map[string]int64{"forged": 12}, Opened: map[string]int64{"age1xyz": 13},
	}
	s.Numbers = recovery.Numbers{AllRead: true, ReportedLost: 14, Unresolved: 15, SeqGaps: 16, Clones: 17}
	s.Fleet = recovery.Fleet{
		Known: 3000, Flaring: 2980,
		Outbreaks: []recovery.Outbreak{{Cause: "tls_expired", Agents: 2980, Since: time.Unix(200, 0)}},
		Top: []recovery.Sighting{{
			Principal: "acme/host-17", Flares: 18, Items: 19, Reason: flare.Expired, Cause: "tls_expired", First: time.Unix(200, 0), Last: time.Unix(300, 0),
		}},
		Drills: map[string]time.Time{"acme/new": time.Unix(500, 0), "acme/b": time.Unix(400, 0), "acme/a": time.Unix(400, 0), "acme/never": {}},
	}
	r := &reporter{log: zap.NewNop()}
	r.set("keys", errors.New("broken"), "", "")
	r.path(errors.New("503"))
	r.set("keys", nil, "", "") // it is over
	all := tables(&r.troubles, s)
	type row = map[string]any
	require.Equal(t, map[string][]row{
		"problems": {{"of": "path", "problem": "503"}},
		"bucket":   {{"pending": 3., "oldest_pending": 60., "last_listed": "1970-01-01T00:01:40Z", "shards_here": 16.}},
		"not recovered": {
			{"state": "waiting", "reason": "audience", "flares": 5.},
			{"state": "waiting", "reason": "unknown_signer", "flares": 4.},
			{"state": "stuck", "reason": "delete", "flares": 6.},
			{"state": "quarantined", "reason": "forged", "flares": 12.},
		},
		"recovered":        {{"flares": 7., "items": 8., "bytes": 9., "items_rejected": 10., "drills": 11.}},
		"what agents tell": {{"items_lost": 14., "flares_given_up": 15., "flares_missing": 16., "agents_that_run_twice": 17.}},
		"outbreaks":        {{"agents": 2980., "of": 3000., "cause": "tls_expired", "since": "1970-01-01T00:03:20Z"}},
		"agents that flare": {{
			"agent": "acme/host-17", "flares": 18., "items": 19., "last_reason": "expired", "last_cause": "tls_expired",
			"first": "1970-01-01T00:03:20Z", "last": "1970-01-01T00:05:00Z",
		}},
		"last drills, the oldest first": {
			{"agent": "acme/never", "made": nil},
			{"agent": "acme/a", "made": "1970-01-01T00:06:40Z"},
			{"agent": "acme/b", "made": "1970-01-01T00:06:40Z"},
			{"agent": "acme/new", "made": "1970-01-01T00:08:20Z"},
		},
		"opened with": {{"identity": "age1xyz", "times": 13.}},
	}, statustest.Show(t, all))
	for _, table := range all {
		if table.Title == "agents that flare" {
			require.Equal(t, 2979, table.More)
		}
	}
}

// A fleet is larger than a page.
func TestDrillsOfALargeFleet(t *testing.T) {
	f := recovery.Fleet{Drills: map[string]time.Time{}}
	for i := range status.MaxRows + 5 {
		f.Drills[fmt.Sprintf("acme/host-%03d", i)] = time.Unix(int64(1000-i), 0)
	}
	drills := fleet(f)[2]
	require.Equal(t, "acme/host-104", drills.Rows[0][0].String())
	require.Equal(t, 5, drills.More)
}
