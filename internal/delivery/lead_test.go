package delivery

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// slowly makes every PUT to a bucket take so long, until it is told to be quick.
func (w *world) slowly(b *bucket.Fake, d time.Duration) (quick func()) {
	var done atomic.Bool
	b.Seen = func(bucket.Call) {
		w.check()
		if !done.Load() {
			<-time.NewTimer(d).C
		}
	}
	return func() { done.Store(true) }
}

// TestLeadTimeIsLearned stores flares in a bucket that takes its time: from the
// second flare on nothing gets older than max_age, and the share of chance is
// another one every time.
func TestLeadTimeIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Flare.Targets = s.Flare.Targets[:1] })
		w.slowly(w.buckets[0], 18*time.Second)
		w.gw.set(down)
		w.feed(1, time.Second, 2*time.Hour)
		const learned = 4 // (2 + 18) / 2, and so on: from here on all that differs is chance
		require.Greater(t, len(w.flares), learned+18)
		earliest, latest := time.Hour, time.Duration(0)
		for i, m := range w.flares {
			age := m.Created.Sub(m.Oldest.Time)
			require.LessOrEqual(t, age, 5*time.Minute-time.Second)
			if i >= learned {
				require.LessOrEqual(t, age+17*time.Second, 5*time.Minute, "flare %d was stored too late", i)
				earliest, latest = min(earliest, age), max(latest, age)
			}
		}
		// 18 draws out of a minute that all lie within 20 s of each other: once in 7 million.
		require.Greater(t, latest-earliest, 20*time.Second, "drawn anew for every flare")
		w.gw.set(up)
		w.shutdown()
		w.nothingIsMissing()
	})
}

// TestFillingBehindASlowGateway has a gateway that lives and is too slow: flares
// take what it does not, it goes on getting what it can take, and no call is refused.
func TestFillingBehindASlowGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Ring.Refuse = true })
		w.padding = 2000
		w.gw.set(func(ctx context.Context, _ *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			timer := time.NewTimer(8 * time.Second)
			defer timer.Stop()
			select {
			case <-ctx.Done():
				return false, timeout
			case <-timer.C:
			}
			return true, ack
		})
		quick := w.slowly(w.buckets[0], 4*time.Second)
		w.feed(20, time.Second, 10*time.Minute) // about 40 KiB a second
		got := w.logs()
		require.Positive(t, got.Flared[flare.RingFull])
		require.Greater(t, got.Delivered, int64(1000), "sending never stops")
		require.Zero(t, sum(got.Lost))
		require.Empty(t, w.gateways, "and nobody calls it down")
		w.gw.set(up)
		quick()
		w.shutdown()
		w.nothingIsMissing()
	})
}

// TestBothPathsDown has neither: ingest goes on, the oldest is lost for room and
// told, and all that is left arrives when one of them is back.
func TestBothPathsDown(t *testing.T) {
	for name, hang := range map[string]bool{"denied": false, "hung": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.padding = 2000
				w.gw.set(hung)
				if hang {
					w.hangPuts(bucket.BeforeEffect)
				} else {
					w.failPuts(bucket.BeforeEffect, bucket.Denied)
				}
				w.feed(20, time.Second, 5*time.Minute)
				got := w.logs()
				require.NotEmpty(t, w.buckets[1].Calls())
				require.Positive(t, got.Lost[LostRingFull])
				require.Equal(t, got.Lost, w.lost)
				w.gw.set(up)
				w.wait(5 * time.Minute)
				require.Zero(t, w.logs().Held)
				require.NoError(t, w.accept(1))
				w.wait(5 * time.Second)
				h, err := frame.ParseHeader(w.gw.header[frame.HeaderFrame])
				require.NoError(t, err)
				require.Equal(t, got.Lost[LostRingFull], h.Lost, "told in what is delivered next")
				require.Equal(t, string(LostRingFull), h.LostReason)
				w.shutdown()
				missing, _ := w.verify()
				require.Equal(t, sum(w.logs().Lost), missing)
			})
		})
	}
}

// TestBackoffOfBuckets keeps every bucket refusing for hours: where there is no
// right the next round comes after ten minutes at most, and where less is asked
// for, it is no burst.
func TestBackoffOfBuckets(t *testing.T) {
	for _, tt := range []struct {
		kind         bucket.Kind
		atLeast, max time.Duration // between two rounds: at least once, and always
	}{
		{bucket.Denied, 2 * time.Minute, 10 * time.Minute},
		{bucket.Throttled, 5 * time.Second, 30 * time.Second},
		{bucket.Unreachable, 5 * time.Second, 30 * time.Second},
	} {
		t.Run(tt.kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				var rounds []time.Time
				w.buckets[0].Seen = func(bucket.Call) { rounds = append(rounds, time.Now()) }
				w.failPuts(bucket.BeforeEffect, tt.kind)
				require.NoError(t, w.accept(1))
				w.wait(6 * time.Hour)
				longest := time.Duration(0)
				for i := range len(rounds) - 1 {
					gap := rounds[i+1].Sub(rounds[i])
					require.LessOrEqual(t, gap, tt.max)
					longest = max(longest, gap)
				}
				require.GreaterOrEqual(t, longest, tt.atLeast)
				require.Greater(t, len(rounds), 30)
				require.Len(t, w.buckets[1].Calls(), len(rounds), "one PUT each a round")
				require.Equal(t, int64(1), w.logs().Held)
				w.gw.set(up)
				w.wait(11 * time.Minute)
				require.Equal(t, int64(1), w.logs().Delivered)
				w.shutdown()
			})
		})
	}
}

// TestParkedOnceAMinute parks every other frame, for the rest is taken: the flares of rejected
// frames are a minute apart, and each holds all that was parked meanwhile.
func TestParkedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Frame.Linger, s.Ring.MaxAge = 0, time.Hour })
		w.gw.set(w.poison(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, tooBig }, odd(599)...))
		w.feed(1, time.Second, 10*time.Minute)
		w.wait(2 * time.Minute)
		require.Len(t, w.flares, 11, "one at once, then one a minute")
		for i, m := range w.flares[1:] {
			// Created is in the bucket's time, which tells whole seconds.
			require.GreaterOrEqual(t, m.Created.Sub(w.flares[i].Created.Time), time.Minute-time.Second)
		}
		got := w.logs()
		require.Equal(t, int64(299), got.Rejected)
		require.Zero(t, got.Held)
		require.Zero(t, sum(got.Flared), "storing them moves no counter")
		items := int64(0)
		for _, m := range w.flares {
			require.Equal(t, flare.Rejected, m.Reason)
			items += m.Totals["logs"].Items
		}
		require.Equal(t, got.Rejected, items)
		w.shutdown()
	})
}

// odd returns every other of the first n records.
func odd(n int) (names []string) {
	for i := 1; i < n; i += 2 {
		names = append(names, recordsOf(i)...)
	}
	return names
}

// TestManifestTellsTheTrouble reads a flare as recovery does.
func TestManifestTellsTheTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Version = "1.2.3" })
		ahead := 90 * time.Second
		for _, b := range w.buckets {
			b.Now = func() time.Time { return time.Now().Add(ahead) }
		}
		w.padding = 2000
		w.gw.set(func(_ context.Context, _ *otlpsend.Request, try int) (bool, otlpsend.Answer) {
			if try%2 == 0 {
				return false, html
			}
			a := refusal
			a.Err = &longError{}
			return false, a
		})
		// The first flare learns the store's clock; nothing takes it for a while.
		w.failPuts(bucket.BeforeEffect, bucket.Denied)
		w.feed(20, time.Second, 5*time.Minute)
		require.Positive(t, w.logs().Lost[LostRingFull])
		w.heal()
		w.wait(15 * time.Minute)
		fl := w.flares[len(w.flares)-1]
		require.InDelta(t, ahead.Milliseconds(), fl.Report.ClockOffset, 1100)
		require.WithinDuration(t, time.Now().Add(ahead), fl.Created.Time, 20*time.Minute)
		require.True(t, fl.Created.After(fl.Newest.Time))
		require.Equal(t, "1.2.3", fl.Report.Version)
		require.Positive(t, fl.Report.Uptime)
		require.Positive(t, fl.Report.Causes["refused"])
		require.Positive(t, fl.Report.Causes["not_an_ack"])
		require.Equal(t, "200 text/html", fl.Report.Sample["not_an_ack"])
		require.Len(t, fl.Report.Sample["refused"], maxSample)
		require.NotContains(t, fl.Report.Sample["refused"], "\n")
		require.Equal(t, map[string]int64{"logs": w.logs().Lost[LostRingFull]}, fl.Lost)
		for _, m := range w.flares {
			require.Empty(t, m.Unresolved, "denied is known")
		}

		// The next frame that is delivered tells the same, and what was rejected.
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			return true, otlpsend.Answer{Verdict: otlpsend.Delivered, Rejected: 1, Message: "one is bad"}
		})
		w.wait(2 * time.Minute)
		w.feed(1, 2*time.Second, 4*time.Second)
		w.wait(5 * time.Second)
		h, err := frame.ParseHeader(w.gw.header[frame.HeaderFrame])
		require.NoError(t, err)
		require.Equal(t, w.logs().Lost[LostRingFull], h.Lost)
		require.Equal(t, w.logs().Rejected-1, h.Rejected)
		require.Equal(t, w.rejected, w.logs().Rejected)
		w.shutdown()
	})
}

// longError is an error with line breaks and more than fits.
type longError struct{}

func (*longError) Error() string {
	text := "dial\n"
	for range 100 {
		text += "connection refused\x00"
	}
	return text
}
