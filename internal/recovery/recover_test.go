package recovery

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// A flare lands, every record stands in Kafka, the flare is gone. The order of
// effects is the promise: nothing is deleted before it was acked and marked.
func TestRecoverInOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 3, "hello")
		f.Meta = map[string][]string{"x-scope-orgid": {"somebody-else"}, "x_scope_orgid": {"globex"}, "x.scope.orgid": {"globex"}, "x-env": {"prod"}}
		m, data := w.seal("acme/host-17", func(m *flare.Manifest) { m.Unresolved = []uint64{7} }, f)
		w.put("f/"+m.FlareID+".age", data)
		w.set.Gateway.TenantHeader = "X-Scope-OrgID"

		var order []string
		note := func(what string) {
			order = append(order, what)
		}
		w.bucket.Seen = func(c bucket.Call) {
			if c.Key != "f/" && len(w.gateway.requests) > 0 || c.Op == "get" && c.Key == "f/"+m.FlareID+".age" {
				note(c.Op + " " + c.Key)
			}
		}
		w.gateway.seen = func(*otlpsend.Request) { note("forward") }
		l := w.run(time.Second)

		require.Equal(t, []string{
			"get f/" + m.FlareID + ".age",
			"forward",
			"put lifeline/done/" + m.FlareID,
			"delete f/" + m.FlareID + ".age",
		}, order)
		require.Equal(t, []string{m.FlareID}, w.under("lifeline/done/"))
		require.Equal(t, []string{"probe"}, w.under("lifeline/quarantine/"))
		require.Empty(t, w.under("lifeline/try/"))
		require.Empty(t, w.under("f/"))

		r := w.gateway.requests[0]
		require.Equal(t, map[string]string{
			frame.HeaderBatchID:  string(f.BatchID),
			frame.HeaderFrame:    f.Header.String(),
			frame.HeaderFlareID:  m.FlareID,
			frame.HeaderAgent:    "acme/host-17",
			frame.HeaderAudience: "acme-prod",
			frame.HeaderSize:     json.Number(r.Header[frame.HeaderSize]).String(),
		}, r.Header)
		require.Equal(t, f.RawSize, r.RawSize)
		require.Equal(t, map[string][]string{"x-scope-orgid": {"acme"}, "x-env": {"prod"}}, r.Meta)
		w.onlyOurs()

		data, _, err := w.bucket.Get(t.Context(), "lifeline/done/"+m.FlareID, bucket.GetOptions{Limit: 1 << 20})
		require.NoError(t, err)
		require.NotContains(t, string(data), "acme/host-17")
		mark, err := openMarker(data, w.keys.Identities)
		require.NoError(t, err)
		require.Equal(t, marker{
			FlareID: m.FlareID, Principal: "acme/host-17", Agent: "acme/host-17",
			BootID: m.BootID, Seq: m.Seq, Unresolved: []uint64{7},
			Reason: flare.Expired, Created: &m.Created,
		}, mark)

		s := l.Snapshot()
		require.EqualValues(t, 1, s.RecoveredFlares)
		require.EqualValues(t, 3, s.RecoveredItems)
		require.Equal(t, map[FlareKind]int64{{Tenant: "acme", Reason: flare.Expired, Cause: "none"}: 1}, s.Flares)
		require.Equal(t, map[string]int64{"recovery": 1}, s.Opened)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// After a long outage one pass takes hours. That recovery goes on is told when it has
// done so for half a minute, and not at the end; but not by a gateway that takes a few
// records and breaks down again.
func TestALongPassTellsThatItGoesOn(t *testing.T) {
	const never = 1 << 30
	for name, row := range map[string]struct {
		breaks int
		list   time.Duration // a call that lists
	}{"well": {never, 0}, "breaks down again": {3, 0}, "breaks down again after long listings": {3, 20 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.bucket.Seen = func(c bucket.Call) {
					if c.Op == "list" {
						time.Sleep(row.list)
					}
				}
				n, up := 0, false
				w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
					time.Sleep(10 * time.Second)
					broken := false
					w.gateway.count(func() { n++; broken = !up || n%row.breaks == 0 })
					if broken {
						return down()
					}
					return otlpsend.Answer{}
				}
				for range 200 {
					w.flare("acme/host-17", w.logs("acme/host-17", 1, "kept"))
				}
				l := New(w.set)
				w.resume(l, 10*time.Minute)
				require.Len(t, w.paths, 1)
				require.Error(t, w.paths[0])

				w.gateway.count(func() { up = true })
				w.resume(l, 2*time.Minute)
				require.NotEmpty(t, w.events, "it goes on")
				require.NotEmpty(t, w.under("f/"), "and is not through")
				if row.breaks != never {
					require.Len(t, w.paths, 1)
					return
				}
				require.Len(t, w.paths, 2)
				require.NoError(t, w.paths[1])
				require.NoError(t, l.Snapshot().PathError)
			})
		})
	}
}

// While the gateway is down nothing moves; when it is back all flares drain, the
// oldest first, within a poll and half a minute.
func TestGatewayDownThenBack(t *testing.T) {
	inWorld(t, func(w *world) {
		up := false
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
			if up {
				return otlpsend.Answer{}
			}
			return down()
		}
		for range 5 {
			w.flare("acme/host-17", w.logs("acme/host-17", 2, "kept"))
			time.Sleep(time.Second)
		}
		l := New(w.set)
		w.resume(l, 6*time.Hour)
		require.Len(t, w.under("f/"), 5)
		require.Empty(t, w.under("lifeline/try/"))
		require.Equal(t, 5, l.Snapshot().Pending)
		require.Greater(t, l.Snapshot().OldestPending, 5*time.Hour)
		require.Error(t, l.Snapshot().PathError)
		require.Empty(t, w.events)

		up = true
		w.resume(l, 30*time.Second)
		require.Empty(t, w.under("f/"))
		require.Len(t, w.under("lifeline/done/"), 5)
		require.NoError(t, l.Snapshot().PathError)
		require.Len(t, w.paths, 2)
		require.NoError(t, w.paths[1])
		for id, n := range w.gateway.got {
			require.Equal(t, 1, n, id)
		}
		require.Len(t, w.gateway.got, 5)
		w.onlyOurs()
	})
}

// The principal is what the trust file says when a record is sent, not what it
// said when the flare was opened first.
func TestPrincipalOfTheLatestOpening(t *testing.T) {
	inWorld(t, func(w *world) {
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer { return down() }
		l := New(w.set)
		w.resume(l, time.Minute)
		require.Equal(t, "acme/host-17", w.gateway.requests[0].Header[frame.HeaderAgent])

		w.agents["acme/renamed"] = w.agents["acme/host-17"]
		w.trust("acme/renamed")
		w.gateway.answer = nil
		w.resume(l, time.Minute)
		last := w.gateway.requests[len(w.gateway.requests)-1]
		require.Equal(t, "acme/renamed", last.Header[frame.HeaderAgent])
		require.Equal(t, "acme/renamed", w.events[0].Principal)
	})
}
