package lifelineexporter

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/nettest"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
)

// Everything that a reading counts is on the page, and the items add up.
func TestAReadingAsTables(t *testing.T) {
	c := &core{cfg: createDefaultConfig().(*Config)}
	c.troubles.Set("gateway", errors.New("it sleeps"))
	r := reading{hasFlare: true, ready: true, gateway: time.Unix(100, 0), signingAt: time.Unix(300, 0)}
	r.signals[frame.Logs] = true
	r.items = delivery.Snapshot{
		Used: 4096, Capacity: 8192, Frames: 7, OldestAge: 1500 * time.Millisecond,
		Causes:   map[otlpsend.Cause]int64{otlpsend.CauseTLSExpired: 3, otlpsend.CauseDNS: 1},
		Flares:   map[delivery.FlareOutcome]int64{{Reason: flare.Expired, Outcome: "stored"}: 9, {Reason: flare.Drill, Outcome: "failed"}: 1},
		DrillPut: time.Unix(400, 0),
	}
	r.items.Signals[frame.Logs] = delivery.Items{
		Accepted: 30, Delivered: 2, Rejected: 3, Held: 4, LateAcks: 5,
		Flared: map[flare.Reason]int64{flare.Expired: 6, flare.Shutdown: 7},
		Lost:   map[delivery.LossReason]int64{delivery.LostBudget: 8},
	}
	type row = map[string]any
	require.Equal(t, map[string][]row{
		"problems":                           {{"of": "gateway", "problem": "it sleeps"}},
		"failed attempts since the last ack": {{"cause": "dns", "attempts": 1.}, {"cause": "tls_expired", "attempts": 3.}},
		"ring":                               {{"used": 4096., "capacity": 8192., "frames": 7., "oldest_item": 1.5, "flared_at": c.cfg.Ring.MaxAge.Seconds()}},
		"items": {{
			"signal": "logs", "accepted": 30., "delivered": 2., "flared": 13., "rejected": 3., "lost": 8., "held": 4., "late_acks": 5.,
		}},
		"items that the gateway did not take": {
			{"signal": "logs", "fate": "flared", "reason": "expired", "items": 6.},
			{"signal": "logs", "fate": "flared", "reason": "shutdown", "items": 7.},
			{"signal": "logs", "fate": "lost", "reason": "budget", "items": 8.},
		},
		"flares":       {{"reason": "drill", "outcome": "failed", "flares": 1.}, {"reason": "expired", "outcome": "stored", "flares": 9.}},
		"fallback":     {{"ready": true, "last_drill_stored": "1970-01-01T00:06:40Z"}},
		"certificates": {{"of": "the gateway", "ends": "1970-01-01T00:01:40Z"}, {"of": "the signing key", "ends": "1970-01-01T00:05:00Z"}},
	}, statustest.Show(t, c.tables(r)))

	r.hasFlare = false
	require.NotContains(t, statustest.Show(t, c.tables(r)), "fallback")
}

// An agent is on the page from its start to its end, and says what keeps it from
// the gateway.
func TestAnAgentOnTheStatusPage(t *testing.T) {
	a := newAgent(t, "http://"+nettest.Reserve(t)).start()
	require.Equal(t, []string{a.set.ID.String()}, a.host.page.Sources())
	require.Empty(t, a.host.page.Show(t)["problems"])
	require.NoError(t, a.logs.ConsumeLogs(t.Context(), order("held")))
	a.hears("The gateway does not take data.")
	seen := a.host.page.Show(t)
	require.Contains(t, seen["problems"][0]["problem"], "the gateway does not take data (refused)")
	require.Equal(t, "refused", seen["failed attempts since the last ack"][0]["cause"])
	require.InDelta(t, 1, seen["ring"][0]["frames"], 0)
	require.Positive(t, seen["ring"][0]["used"])
	a.shutdown()
	require.Empty(t, a.host.page.Sources())
}
