package recovery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// because stores a flare of one record with a reason and causes.
func (w *world) because(agent string, reason flare.Reason, causes map[string]int64) {
	m, data := w.seal(agent, func(m *flare.Manifest) {
		m.Reason, m.Report.Causes = reason, causes
		m.Lost = map[string]int64{"logs": int64(m.Seq)} //nolint:gosec // small
	}, w.logs(agent, 2, "x"))
	w.put(flare.Key("f/", m.FlareID), data)
}

// Flares are told apart by tenant, reason and cause; the agents that flare most
// stand first, and an outbreak says since when how many agents have it.
func TestSpotting(t *testing.T) {
	inWorld(t, func(w *world) {
		began := time.Now()
		w.because("acme/host-17", flare.Expired, map[string]int64{"tls_expired": 9, "timeout": 2})
		time.Sleep(time.Minute)
		w.because("acme/host-17", flare.RingFull, map[string]int64{"tls_expired": 3})
		w.because("globex/db-1", flare.Expired, map[string]int64{"tls_expired": 1})
		w.because("globex/db-1", flare.Shutdown, map[string]int64{"their own word": 1})
		time.Sleep(time.Minute)
		w.because("globex/db-1", flare.Shutdown, nil)
		l := w.run(time.Hour)
		s := l.Snapshot()
		require.Equal(t, map[FlareKind]int64{
			{"acme", flare.Expired, "tls_expired"}: 1, {"acme", flare.RingFull, "tls_expired"}: 1,
			{"globex", flare.Expired, "tls_expired"}: 1, {"globex", flare.Shutdown, "other"}: 1, {"globex", flare.Shutdown, "none"}: 1,
		}, s.Flares)
		require.Equal(t, 2, s.Flaring)
		require.Equal(t, 2, s.Known)
		require.Equal(t, "globex/db-1", s.Top[0].Principal)
		require.EqualValues(t, 3, s.Top[0].Flares)
		require.EqualValues(t, 6, s.Top[0].Items)
		require.Equal(t, "none", s.Top[0].Cause)
		require.Equal(t, Outbreak{Cause: "tls_expired", Agents: 1, Since: flare.TimeOf(began).Time}, s.Outbreaks[1])
		require.EqualValues(t, 2+3, s.ReportedLost, "of each boot what it said last")
		require.Zero(t, s.Clones)
	})
}

// Two boots of one agent that tell of the same time are a clone; one after the
// other they are a restart. A process that starts later learns it from done/.
func TestClones(t *testing.T) {
	for name, boots := range map[string][]string{"clone": {"a", "b", "a", "b"}, "restart": {"a", "a", "b", "b"}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				for _, b := range boots {
					w.agent("acme/host-17")
					w.boots["acme/host-17"] = b + "0000000000000000000000000000000"
					w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
					time.Sleep(time.Minute)
				}
				want := map[string]int64{"clone": 1}[name]
				require.Equal(t, want, w.run(2*time.Minute).Snapshot().Clones)
				require.Equal(t, want, w.run(2*time.Minute).Snapshot().Clones)
			})
		})
	}
}

// A drill that a person sends with an agent's files has a boot of its own, and makes no
// clone of the agent that runs beside it.
func TestADrillByHandIsNoClone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.agent("acme/host-17")
		for _, b := range []string{"a", "hand", "a", "hand again", "a"} {
			w.boots["acme/host-17"] = fmt.Sprintf("%032x", b)[:32]
			w.seqs["acme/host-17"] = 0
			w.drill(nil)
			time.Sleep(time.Hour)
		}
		require.Zero(t, w.run(2*time.Minute).Snapshot().Clones)
		require.Zero(t, w.run(2*time.Minute).Snapshot().Clones)
	})
}

// A seq that an agent gave up on is unresolved until its flare turns up.
func TestUnresolved(t *testing.T) {
	k := newNumbers()
	k.hears("p", "b", 1)
	k.hears("p", "b", 4, 2, 3)
	require.EqualValues(t, 2, k.tally().Unresolved)
	require.Zero(t, k.tally().SeqGaps)
	k.hears("p", "b", 3)
	k.hears("p", "b", 5, 2, 3)
	require.EqualValues(t, 1, k.tally().Unresolved)
	k.hears("p", "b", 6) // now the agent knows that 2 was stored
	require.Zero(t, k.tally().Unresolved)
	require.EqualValues(t, 1, k.tally().SeqGaps)
}

// When an agent's last drill was made outlives a restart, for as long as its marker. An
// agent is shown, with a drill or without, until it is struck off or revoked.
func TestDrillsAreMissed(t *testing.T) {
	inWorld(t, func(w *world) {
		enrolled := func(names ...string) {
			w.trust(names...)
			w.keys.Enrolled = w.keys.Opener.(*flare.Opener).Enrolled()
		}
		enrolled("acme/host-17", "globex/db-1")
		made := time.Now()
		w.drill(nil)
		time.Sleep(time.Minute)
		want := map[string]time.Time{"acme/host-17": flare.TimeOf(made).Time, "globex/db-1": {}}
		require.Equal(t, want, w.run(2*time.Minute).Snapshot().Drills)
		l := New(w.set)
		w.resume(l, 2*time.Minute)
		require.Equal(t, want, l.Snapshot().Drills)
		require.Equal(t, 2, l.Snapshot().Known)
		enrolled("acme/host-17")
		w.resume(l, 2*time.Minute)
		delete(want, "globex/db-1")
		require.Equal(t, want, l.Snapshot().Drills)
		enrolled("globex/db-1")
		w.resume(l, 2*time.Minute)
		require.Equal(t, map[string]time.Time{"globex/db-1": {}}, l.Snapshot().Drills)
	})
}

// Of an agent that an authority vouches for nobody knows that it is gone: its drills are
// missed until their markers are old, in a process that lives on as in a new one.
func TestDrillsOfAHostThatIsGone(t *testing.T) {
	inWorld(t, func(w *world) {
		w.drill(nil)
		w.keysWith(func(_ *Keys, o *flare.Opener) {
			o.Signers = signers(w.t, "acme/* cert-authority "+string(ssh.MarshalAuthorizedKey(w.agent("an authority").PublicKey()))+
				"acme/host-17 "+string(ssh.MarshalAuthorizedKey(w.agent("acme/host-17").PublicKey())))
		})
		l := New(w.set)
		w.resume(l, w.set.MaxAge)
		require.Contains(t, l.Snapshot().Drills, "acme/host-17")
		w.flare("acme/host-17", w.logs("acme/host-17", 1, "x")) // no drill, and a marker
		w.resume(l, markerGrace+2*housekeeping)
		require.Empty(t, l.Snapshot().Drills)

		w.drill(nil)
		w.resume(l, time.Minute)
		require.Contains(t, l.Snapshot().Drills, "acme/host-17")
		w.keysWith(func(_ *Keys, o *flare.Opener) {
			var err error
			o.Revoked, err = flare.ParseRevoked(strings.NewReader("principal:acme/host-17\n"))
			require.NoError(t, err)
		})
		w.resume(l, time.Minute)
		require.Empty(t, l.Snapshot().Drills)
	})
}

// Flares whose principal is known take turns by it, within one folder too.
func TestTurnsByPrincipal(t *testing.T) {
	var all []object
	for i := range 100 {
		o := object{signer: "acme/flood"}
		o.Key, o.LastModified = "f/x", time.Unix(int64(i), 0)
		all = append(all, o)
	}
	honest := object{signer: "globex/db-1"}
	honest.Key, honest.LastModified = "f/y", time.Unix(1000, 0)
	turns := takeTurns(append(all, honest), 10)
	require.Equal(t, "globex/db-1", turns[1].signer)
}
