package delivery

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// behaviour is what a bucket does to every PUT until it is healed.
type behaviour struct {
	name    string
	kind    bucket.Kind
	when    bucket.When
	hang    bool
	slow    time.Duration // before a good answer
	takes   bool          // and says so
	unknown bool          // the agent cannot tell whether it has the flare
	first   int           // PUTs before the other bucket is asked, while that waits
}

var behaviours = []behaviour{
	{name: "good", takes: true, first: 1},
	{name: "slow", takes: true, first: 1, slow: 8 * time.Second},
	{name: "denied", kind: bucket.Denied, first: 1},
	{name: "unreachable", kind: bucket.Unreachable, first: 1},
	{name: "unknown, not done", kind: bucket.Unknown, unknown: true, first: 3},
	{name: "unknown, done", kind: bucket.Unknown, when: bucket.AfterEffect, unknown: true, first: 3},
	{name: "throttled", kind: bucket.Throttled, unknown: true, first: 1},
	{name: "hangs, not done", hang: true, unknown: true, first: 1},
	{name: "hangs, done", hang: true, when: bucket.AfterEffect, unknown: true, first: 1},
}

// behave makes a bucket of the world behave.
func (w *world) behave(b *bucket.Fake, as *behaviour) {
	switch {
	case as.hang:
		b.Hang("put", -1, as.when)
	case !as.takes:
		b.Fail("put", -1, as.when, &bucket.Error{Kind: as.kind})
	case as.slow > 0:
		w.slowly(b, as.slow)
	}
}

// met asserts that the bucket was asked, and that its fault struck.
func (as *behaviour) met(t *testing.T, b *bucket.Fake) {
	t.Helper()
	require.NotEmpty(t, b.Calls())
	for _, c := range b.Calls() {
		require.Equal(t, !as.takes, c.Fault)
		require.False(t, as.when == bucket.AfterEffect && !c.Effect && c == b.Calls()[0], "it had its effect")
	}
}

// TestOutcomes lets every pair of buckets meet a flare of old data while no
// gateway answers. Where none takes it, the story ends in three ways.
func TestOutcomes(t *testing.T) {
	for _, first := range behaviours {
		for _, second := range behaviours {
			t.Run(first.name+", "+second.name, func(t *testing.T) {
				if first.takes || second.takes {
					synctest.Test(t, func(t *testing.T) { outcomeStoredAtOnce(t, &first, &second) })
					return
				}
				synctest.Test(t, func(t *testing.T) { outcomeGatewayReturns(t, &first, &second) })
				synctest.Test(t, func(t *testing.T) { outcomeBucketsHeal(t, &first, &second) })
				synctest.Test(t, func(t *testing.T) { outcomeNobodyComes(t, &first, &second) })
			})
		}
	}
}

// outage accepts ten records that no gateway takes, and waits until they are
// about to expire.
func outage(t *testing.T, first, second *behaviour, wait time.Duration) *world {
	t.Helper()
	w := newWorld(t, nil)
	w.gw.set(down)
	w.behave(w.buckets[0], first)
	w.behave(w.buckets[1], second)
	require.NoError(t, w.accept(10))
	w.wait(wait)
	first.met(t, w.buckets[0])
	return w
}

func outcomeStoredAtOnce(t *testing.T, first, second *behaviour) {
	w := outage(t, first, second, 8*time.Minute)
	got := w.logs()
	require.Equal(t, int64(10), got.Flared[flare.Expired])
	require.Equal(t, map[FlareOutcome]int64{{flare.Expired, outcomeStored}: 1}, w.e.Snapshot().Flares)
	require.Len(t, w.buckets[0].Calls(), first.first)
	require.Equal(t, uint64(1), w.flares[0].Seq)
	attempt := attemptOf(t, w.flares[0])
	require.Greater(t, attempt, 1, "a flare is one attempt more than was sent before it was sealed")
	require.LessOrEqual(t, attempt, w.gw.tries+1)
	if !first.takes {
		second.met(t, w.buckets[1])
		require.Len(t, w.buckets[1].Calls(), 1)
	}
	require.Empty(t, w.flares[0].Unresolved)
	w.shutdown()
	w.nothingIsMissing()
}

func attemptOf(t *testing.T, m *flare.Manifest) int {
	t.Helper()
	h, err := frame.ParseHeader(m.Records[0].Frame)
	require.NoError(t, err)
	return int(h.Attempt)
}

// outcomeGatewayReturns gives the flare up: its frames are delivered.
func outcomeGatewayReturns(t *testing.T, first, second *behaviour) {
	w := outage(t, first, second, 7*time.Minute)
	second.met(t, w.buckets[1])
	require.Equal(t, int64(10), w.logs().Held)
	w.gw.set(up)
	w.wait(15 * time.Minute)
	got, s := w.logs(), w.e.Snapshot()
	require.Equal(t, int64(10), got.Delivered)
	require.Equal(t, map[FlareOutcome]int64{{flare.Expired, outcomeGivenUp}: 1}, s.Flares)
	require.Zero(t, s.Used)

	w.heal()
	w.gw.set(down)
	require.NoError(t, w.accept(1))
	w.wait(8 * time.Minute)
	if first.unknown || second.unknown {
		require.Equal(t, []uint64{1}, w.flares[0].Unresolved, "told by the next flare")
		require.Equal(t, uint64(2), w.flares[0].Seq)
	} else {
		require.Empty(t, w.flares[0].Unresolved, "nothing is missing")
		require.Equal(t, uint64(1), w.flares[0].Seq, "and there is no gap")
	}
	w.shutdown()
	missing, twice := w.verify()
	require.Zero(t, missing)
	landed := first.when == bucket.AfterEffect || second.when == bucket.AfterEffect
	require.Equal(t, landed, twice > 0, "a copy that did land is a duplicate with the same ids")
}

func outcomeBucketsHeal(t *testing.T, first, second *behaviour) {
	w := outage(t, first, second, 7*time.Minute)
	second.met(t, w.buckets[1])
	w.heal()
	w.wait(25 * time.Minute)
	require.Equal(t, int64(10), w.logs().Flared[flare.Expired])
	require.Equal(t, map[FlareOutcome]int64{{flare.Expired, outcomeStored}: 1}, w.e.Snapshot().Flares)
	require.Equal(t, uint64(1), w.flares[0].Seq, "the same object at every attempt")
	copies := map[string]bool{}
	for _, b := range w.buckets {
		for _, key := range b.Keys() {
			copies[key] = true
		}
	}
	require.Len(t, copies, 1)
	w.shutdown()
	w.nothingIsMissing()
}

func outcomeNobodyComes(t *testing.T, first, second *behaviour) {
	w := outage(t, first, second, 7*time.Minute)
	second.met(t, w.buckets[1])
	w.shutdown()
	got := w.logs()
	reason := LostShutdown
	if first.unknown || second.unknown {
		reason = LostFlareUnknown
	}
	require.Equal(t, map[LossReason]int64{reason: 10}, got.Lost)
	require.Equal(t, got.Lost, w.lost, "told")
	require.Zero(t, w.e.Snapshot().Used)
	missing, _ := w.verify()
	landed := first.when == bucket.AfterEffect || second.when == bucket.AfterEffect
	require.Equal(t, landed, missing == 0, "unknown stays unknown")
}
