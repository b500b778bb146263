package delivery

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// drills returns the drills in the buckets and asserts that each is one marked
// record, alone, and that no sender ever had it.
func (w *world) drills() (drills []*flare.Flare) {
	w.t.Helper()
	for _, fl := range w.stored() {
		if fl.Manifest.Reason != flare.Drill {
			continue
		}
		drills = append(drills, fl)
		require.Len(w.t, fl.Frames, 1)
		require.Empty(w.t, fl.Manifest.Records[0].Frame, "no seq, hence no header")
		raw, err := otlpcodec.Decompress(fl.Frames[0].Stored, fl.Frames[0].RawSize)
		require.NoError(w.t, err)
		ld, err := otlpcodec.DecodeLogs(raw)
		require.NoError(w.t, err)
		require.Equal(w.t, 1, ld.LogRecordCount())
		attributes := ld.ResourceLogs().At(0).Resource().Attributes()
		mark, _ := attributes.Get(otlpcodec.DrillAttribute)
		require.True(w.t, mark.Bool())
		agent, _ := attributes.Get("lifeline.agent")
		require.Equal(w.t, "acme/host-17", agent.Str())
		boot, _ := attributes.Get("lifeline.boot")
		require.Equal(w.t, w.e.boot, boot.Str())
	}
	return drills
}

// waitForFlare waits until the first flare of any kind was begun.
func (w *world) waitForFlare() {
	begun := func() bool {
		w.e.fb.mu.Lock()
		defer w.e.fb.mu.Unlock()
		return w.e.fb.seqs.newest > 0
	}
	for !begun() {
		w.wait(time.Second)
	}
}

func withDrills(interval time.Duration) func(*Settings) {
	return func(s *Settings) { s.Flare.DrillInterval = interval }
}

// TestDrill lets an agent drill beside a gateway that is up, down or silent: its
// items count nowhere, and nothing but the drill wakes the agent up.
func TestDrill(t *testing.T) {
	for name, script := range map[string]script{"up": up, "down": down, "hung": hung} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, withDrills(6*time.Hour))
				w.gw.set(script)
				synctest.Wait()
				first, _ := w.e.step(time.Now())
				require.WithinDuration(t, time.Now().Add(30*time.Minute), first, 30*time.Minute, "at random in the first hour")
				require.Zero(t, w.e.Snapshot().DrillPut)

				w.wait(25*time.Hour + 5*time.Minute)
				require.Len(t, w.drills(), 5, "one at the start and one every interval")
				require.Len(t, w.stored(), 5)
				require.Zero(t, w.gw.tries, "no sender has seen one")
				s := w.e.Snapshot()
				require.Equal(t, int64(5), s.Flares[FlareOutcome{flare.Drill, outcomeStored}])
				require.WithinDuration(t, time.Now(), s.DrillPut, 6*time.Hour)
				require.Zero(t, s.Used)
				require.Zero(t, s.OldestAge)
				got := w.logs()
				require.Zero(t, got.Accepted+got.Delivered+got.Held+got.Rejected+sum(got.Flared)+sum(got.Lost))
				for i, fl := range w.flares {
					require.Equal(t, uint64(i+1), fl.Seq)
				}
				next, _ := w.e.step(time.Now())
				require.Greater(t, time.Until(next), time.Minute, "idle until the next drill")

				require.NoError(t, w.accept(1))
				w.wait(5 * time.Second)
				if name == "up" {
					require.Contains(t, w.gw.header["lifeline-frame"], "seq=1,", "a drill has no seq of frames")
				}
				require.Less(t, w.shutdown(), 10*time.Second)
			})
		})
	}
}

// TestDrillWaitsForTelemetry has a drill in the ring while no bucket takes
// anything: telemetry goes first, at once, even when the drill's PUT hangs.
func TestDrillWaitsForTelemetry(t *testing.T) {
	for name, hang := range map[string]bool{"refused": false, "hung": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, withDrills(time.Minute))
				w.gw.set(down)
				if hang {
					w.hangPuts(bucket.BeforeEffect)
				} else {
					w.failPuts(bucket.BeforeEffect, bucket.Denied)
				}
				w.waitForFlare()
				require.NoError(t, w.accept(3))
				w.wait(5 * time.Minute)
				require.Positive(t, w.e.Snapshot().Flares[FlareOutcome{flare.Drill, outcomeGivenUp}])
				require.Equal(t, 1, w.e.ring.View().Flaring, "telemetry has the flare")
				require.NotZero(t, w.e.ring.View().Drill, "the drill waits")
				require.LessOrEqual(t, w.e.Snapshot().OldestAge, 5*time.Minute)
				w.heal()
				w.wait(12 * time.Minute)
				require.Equal(t, int64(3), w.logs().Flared[flare.Expired])
				require.NotEmpty(t, w.drills())
				require.Equal(t, flare.Expired, w.flares[0].Reason)
				w.shutdown()
			})
		})
	}
}

// TestDrillAndShutdown shuts down while the drill waits, and while its PUT hangs.
func TestDrillAndShutdown(t *testing.T) {
	for name, hang := range map[string]bool{"waiting": false, "being put": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, withDrills(time.Hour))
				if hang {
					w.hangPuts(bucket.BeforeEffect)
				}
				waits := func() bool { return !w.e.ring.View().Drill.IsZero() }
				for !waits() {
					w.wait(time.Second)
				}
				for hang && waits() {
					w.wait(time.Second)
				}
				require.NotZero(t, w.e.Snapshot().Used)
				require.Less(t, w.shutdown(), 2*time.Second, "nothing to wait for")
				require.Zero(t, w.e.Snapshot().Used)
				require.Empty(t, w.lost)
				require.Zero(t, w.dropped)
				require.Empty(t, w.stored())
			})
		})
	}
}

// TestDrillBesideTraffic runs drills with the gateway sending all the time.
func TestDrillBesideTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, withDrills(10*time.Minute))
		w.gw.set(func(_ context.Context, _ *otlpsend.Request, try int) (bool, otlpsend.Answer) {
			if try%50 > 40 {
				return false, refusal
			}
			return true, ack
		})
		w.feed(2, time.Second, time.Hour)
		require.GreaterOrEqual(t, len(w.drills()), 5)
		require.Len(t, w.stored(), len(w.drills()), "nothing else was flared")
		w.gw.set(up)
		w.shutdown()
		got := w.logs()
		require.Equal(t, got.Accepted, got.Delivered)
		missing, twice := w.verify()
		require.Zero(t, missing)
		require.Zero(t, twice)
	})
}

func TestFirstDrill(t *testing.T) {
	now := time.Now()
	require.Zero(t, firstDrill(now, 0, 0.5))
	require.Equal(t, now.Add(30*time.Minute), firstDrill(now, 24*time.Hour, 0.5))
	require.Equal(t, now.Add(time.Minute), firstDrill(now, 2*time.Minute, 0.5))
}

// dialing is a bucket that no connection to is made before the caller gives up.
type dialing struct{ *bucket.Fake }

func (d dialing) Put(ctx context.Context, _ string, _ frame.Body, _ bucket.PutOptions) (bucket.Info, error) {
	<-ctx.Done()
	return bucket.Info{}, &bucket.Error{Kind: bucket.Unreachable, Err: context.Cause(ctx)}
}

// A drill that is cut off while it still connects says nothing about the bucket.
func TestADrillCutOffIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		w := newWorld(t, func(s *Settings) {
			withDrills(time.Hour)(s)
			for i := range s.Flare.Targets {
				s.Flare.Targets[i].Bucket = dialing{bucket.NewFake()}
			}
			s.Observer.Bucket = func(target string, ok bool, _ error) { told = append(told, fmt.Sprint(target, " ", ok)) }
		})
		w.waitForFlare()
		w.shutdown()
		require.Equal(t, int64(1), w.e.Snapshot().Flares[FlareOutcome{flare.Drill, outcomeGivenUp}], "it was cut off")
		require.Empty(t, told)
	})
}
