package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// TestPutFaults injects every kind of fault before and after its effect into
// the first bucket, and tells where the flare must be in the end.
func TestPutFaults(t *testing.T) {
	const first, second = 0, 1
	for _, tt := range []struct {
		name  string
		kind  bucket.Kind
		times int
		when  bucket.When
		hang  bool
		in    []int // objects in the first and in the second bucket
		puts  []int // PUTs seen by them
	}{
		{"denied", bucket.Denied, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"refused", bucket.Refused, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"no such bucket", bucket.NotFound, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"unreachable", bucket.Unreachable, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"key taken", bucket.Exists, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"unknown, not done", bucket.Unknown, 1, bucket.BeforeEffect, false, []int{1, 0}, []int{2, 0}},
		{"unknown, done", bucket.Unknown, 1, bucket.AfterEffect, false, []int{1, 0}, []int{2, 0}},
		{"throttled", bucket.Throttled, 1, bucket.BeforeEffect, false, []int{0, 1}, []int{1, 1}},
		{"throttled, done all the same", bucket.Throttled, 1, bucket.AfterEffect, false, []int{1, 1}, []int{1, 1}},
		{"unknown three times, not done", bucket.Unknown, 3, bucket.BeforeEffect, false, []int{0, 1}, []int{3, 1}},
		{"unknown three times, done", bucket.Unknown, 3, bucket.AfterEffect, false, []int{1, 1}, []int{3, 1}},
		{"hangs, not done", 0, 1, bucket.BeforeEffect, true, []int{0, 1}, []int{1, 1}},
		{"hangs, done", 0, 1, bucket.AfterEffect, true, []int{1, 1}, []int{1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				if tt.hang {
					w.buckets[first].Hang("put", tt.times, tt.when)
				} else {
					w.buckets[first].Fail("put", tt.times, tt.when, &bucket.Error{Kind: tt.kind})
				}
				require.NoError(t, w.accept(10))
				w.wait(10 * time.Minute)
				require.Equal(t, int64(10), w.logs().Flared[flare.Expired])
				for i := range w.buckets {
					require.Len(t, w.buckets[i].Keys(), tt.in[i], "bucket %d", i)
					require.Len(t, w.buckets[i].Calls(), tt.puts[i], "bucket %d", i)
				}
				require.True(t, w.buckets[first].Calls()[0].Fault, "the fault was met")
				if tt.kind == bucket.Exists {
					require.Equal(t, uint64(2), w.flares[0].Seq)
					require.Equal(t, []uint64{1}, w.flares[0].Unresolved)
				} else {
					require.Equal(t, uint64(1), w.flares[0].Seq)
				}
				w.shutdown()
				w.nothingIsMissing()
			})
		})
	}
}

// TestGivenUp brings the gateway back while no bucket takes the flare.
func TestGivenUp(t *testing.T) {
	for name, kind := range map[string]bucket.Kind{"denied": bucket.Denied, "unreachable": bucket.Unreachable, "unknown": bucket.Unknown} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				for _, b := range w.buckets {
					b.Fail("put", -1, bucket.AfterEffect, &bucket.Error{Kind: kind})
				}
				w.feed(3, time.Second, 10*time.Minute)
				require.NotEmpty(t, w.buckets[0].Calls())
				require.Positive(t, w.logs().Held)

				w.gw.set(up)
				w.wait(15 * time.Minute)
				got := w.logs()
				require.Zero(t, got.Held)
				require.Equal(t, got.Accepted, got.Delivered)
				require.Positive(t, w.e.Snapshot().Flares[FlareOutcome{flare.Expired, outcomeGivenUp}])

				// The next flare says which one was not known to be stored.
				w.gw.set(down)
				for _, b := range w.buckets {
					b.Heal()
				}
				require.NoError(t, w.accept(1))
				w.wait(10 * time.Minute)
				require.NotEmpty(t, w.flares)
				require.Contains(t, w.flares[0].Unresolved, uint64(1))
				w.shutdown()
			})
		})
	}
}

// TestLateAck lets the gateway take a frame whose answer comes after a flare
// holds the frame.
func TestLateAck(t *testing.T) {
	for name, take := range map[string]bool{"flare stored": true, "flare given up": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := make(chan struct{})
				w := newWorld(t, func(s *Settings) { s.Retry.Timeout = time.Hour })
				w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
					<-answer // the cancelled request had its effect long ago
					return true, ack
				})
				if !take {
					for _, b := range w.buckets {
						b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Unreachable})
					}
				}
				require.NoError(t, w.accept(4))
				w.wait(6 * time.Minute)
				require.NotEmpty(t, w.buckets[0].Calls(), "the flare was sealed")
				close(answer)
				w.wait(time.Minute)
				got := w.logs()
				if take {
					require.Equal(t, int64(4), got.Flared[flare.Expired])
					require.Equal(t, int64(4), got.LateAcks)
					require.Zero(t, got.Delivered)
				} else {
					// No closed gate opened, so nothing gives the flare up before
					// the shutdown does.
					w.shutdown()
					got = w.logs()
					require.Equal(t, int64(4), got.Delivered)
					require.Zero(t, sum(got.Lost))
				}
				w.gw.set(up)
				w.shutdown()
				w.nothingIsMissing()
			})
		})
	}
}

// TestAckWhileTheFlareIsPut acks a frame after its flare was sealed and before
// a bucket has it.
func TestAckWhileTheFlareIsPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan struct{})
		w := newWorld(t, func(s *Settings) { s.Retry.Timeout = time.Hour })
		w.gw.set(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
			<-answer
			return true, ack
		})
		w.buckets[0].Hang("put", 3, bucket.BeforeEffect)
		require.NoError(t, w.accept(4))
		for w.e.ring.View().Flaring == 0 {
			w.wait(time.Second)
		}
		w.wait(time.Second)
		close(answer)
		w.wait(time.Second)
		require.Equal(t, int64(4), w.logs().Held, "remembered, not counted")
		w.wait(5 * time.Minute)
		require.Equal(t, int64(4), w.logs().Flared[flare.Expired])
		require.Equal(t, int64(4), w.logs().LateAcks)
		w.shutdown()
	})
}

// TestForeignKeys meets other objects under the flare's key after a PUT whose
// outcome is unknown: what is known of the old id says nothing of the new one.
func TestForeignKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.gw.set(down)
		w.buckets[0].Fail("put", 3, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Unknown})
		w.buckets[0].Fail("put", 1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Exists})
		w.buckets[1].Fail("put", 1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Exists})
		require.NoError(t, w.accept(4))
		w.wait(10 * time.Minute)
		require.Equal(t, int64(4), w.logs().Flared[flare.Expired])
		require.Len(t, w.buckets[1].Keys(), 1)
		require.Equal(t, []uint64{1, 2}, w.flares[0].Unresolved)
		w.shutdown()
		w.nothingIsMissing()
	})
}

func TestShutdownDenied(t *testing.T) {
	for name, earlier := range map[string]bool{"fresh": false, "with a flare that waits": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				w.gw.set(down)
				for _, b := range w.buckets {
					b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Denied})
				}
				require.NoError(t, w.accept(4))
				if earlier {
					w.wait(7 * time.Minute)
					require.NotZero(t, w.e.ring.View().Flaring)
					w.gw.set(up) // no probe has seen it: there was nothing to probe with
				}
				require.Less(t, w.shutdown(), time.Second, "nothing to wait for")
				require.NotEmpty(t, w.buckets[1].Calls())
				if earlier {
					require.Equal(t, int64(4), w.logs().Delivered)
				} else {
					require.Equal(t, int64(4), w.logs().Lost[LostShutdown])
				}
			})
		})
	}
}

// TestTelemetryGoesFirst has a flare of rejected frames in the way.
func TestTelemetryGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Frame.Linger = 0 })
		for _, b := range w.buckets {
			b.Fail("put", -1, bucket.BeforeEffect, &bucket.Error{Kind: bucket.Unreachable})
		}
		w.gw.set(w.poison(func(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, tooBig }, "record-0"))
		require.NoError(t, w.accept(1))
		require.NoError(t, w.accept(1))
		w.wait(time.Minute)
		require.Equal(t, int64(1), w.logs().Rejected)
		require.NotEmpty(t, w.buckets[0].Calls())
		w.gw.set(down)
		require.NoError(t, w.accept(1))
		w.wait(6 * time.Minute)
		require.Equal(t, int64(1), w.e.Snapshot().Flares[FlareOutcome{flare.Rejected, outcomeGivenUp}])
		for _, b := range w.buckets {
			b.Heal()
		}
		w.wait(5 * time.Minute)
		require.Equal(t, int64(1), w.logs().Flared[flare.Expired])
		require.Len(t, w.stored(), 2, "never mixed")
		w.shutdown()
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Flare.Budget = 1 << 20 })
		w.gw.set(down)
		w.padding = 5000
		w.feed(10, time.Second, 5*time.Minute)
		got := w.logs()
		require.Positive(t, got.Flared[flare.RingFull])
		require.Positive(t, got.Lost[LostBudget])
		require.Zero(t, got.Lost[LostRingFull])
		stored := len(w.stored())

		w.feed(10, time.Second, time.Minute)
		require.Len(t, w.stored(), stored, "no flare until the day ends")
		w.wait(24 * time.Hour)
		require.Greater(t, len(w.stored()), stored)
		w.gw.set(up)
		w.shutdown()
		missing, _ := w.verify()
		require.Equal(t, w.logs().Lost[LostBudget], missing)
	})
}

// TestBrokenKeys never kills the primary.
func TestBrokenKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newWorld(t, func(s *Settings) {
			good := s.Flare.Sealer
			s.Flare.Sealer = func() (*flare.Sealer, error) {
				if asked++; asked < 5 {
					return nil, errors.New("flare::recipients_file: empty")
				}
				return good()
			}
		})
		w.feed(1, time.Second, 10*time.Second)
		require.False(t, w.e.Snapshot().Ready)
		w.wait(3 * time.Second)
		require.Equal(t, w.accepted, w.logs().Delivered)
		w.gw.set(down)
		require.NoError(t, w.accept(1))
		w.wait(10 * time.Minute)
		require.GreaterOrEqual(t, asked, 5)
		require.Equal(t, int64(1), w.logs().Flared[flare.Expired], "healed keys are taken")
		require.True(t, w.e.Snapshot().Ready)
		w.shutdown()
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) {
			s.Flare.Sealer = func() (*flare.Sealer, error) { return nil, errors.New("flare::recipients_file: empty") }
		})
		w.gw.set(down)
		require.NoError(t, w.accept(3))
		require.Less(t, w.shutdown(), 5*time.Second, "nothing to wait for")
		require.Equal(t, int64(3), w.logs().Lost[LostShutdown])
	})
}

func TestLargestFitsOneFlare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		sealer, err := w.e.s.Flare.Sealer()
		require.NoError(t, err)
		for size := int64(256 << 10); size <= 64<<20; size += 111_111 {
			w.e.s.Flare.MaxSize = size
			raw := w.e.largest()
			require.LessOrEqual(t, sealer.SizeBound(1, raw+raw>>12+64, 4096), size)
		}
		w.e.s.Flare.MaxSize = 512 << 10
		w.shutdown()
	})
}

func TestTrigger(t *testing.T) {
	begin := time.Date(2026, 9, 21, 6, 31, 0, 0, time.UTC)
	at := begin.Add
	fresh := func() trigger {
		s := Settings{Ring: RingSettings{MaxAge: 5 * time.Minute}}
		tr := newTrigger(&s, 1000)
		tr.share = 10 * time.Second
		return tr
	}
	for _, tt := range []struct {
		name   string
		change func(*trigger)
		now    time.Duration
		view   ring.View
		want   flare.Reason
		next   time.Time
	}{
		{"empty", nil, 0, ring.View{}, "", time.Time{}},
		{"young", nil, time.Minute, ring.View{Frames: 10, Oldest: begin}, "", at(288 * time.Second)},
		{"just before", nil, 288*time.Second - 1, ring.View{Frames: 10, Oldest: begin}, "", at(288 * time.Second)},
		{"old", nil, 288 * time.Second, ring.View{Frames: 10, Oldest: begin}, flare.Expired, time.Time{}},
		{"old, but the gateway is back", func(tr *trigger) { tr.reopened(at(280 * time.Second)) }, 288 * time.Second, ring.View{Frames: 10, Oldest: begin}, "", at(340 * time.Second)},
		{"gateway comes and goes", func(tr *trigger) { tr.reopened(begin); tr.reopened(at(280 * time.Second)) }, 288 * time.Second, ring.View{Frames: 10, Oldest: begin}, flare.Expired, time.Time{}},
		{"90 percent", nil, 0, ring.View{Frames: 900, Oldest: begin}, "", at(time.Second)},
		{"above 90 percent", nil, 0, ring.View{Frames: 901, Oldest: begin}, flare.RingFull, time.Time{}},
		{"not yet down to 75", func(tr *trigger) { tr.filling = true }, 0, ring.View{Frames: 751, Oldest: begin}, flare.RingFull, time.Time{}},
		{"down to 75", func(tr *trigger) { tr.filling = true }, 0, ring.View{Frames: 750, Oldest: begin}, "", at(time.Second)},
		{"fills soon", func(tr *trigger) { tr.rate.perSecond = 150 }, 0, ring.View{Frames: 501, Oldest: begin}, flare.RingFull, time.Time{}},
		{"fills not so soon", func(tr *trigger) { tr.rate.perSecond = 120 }, 0, ring.View{Frames: 501, Oldest: begin}, "", at(time.Second)},
		{"a burst at the start", func(tr *trigger) { tr.rate.perSecond = 400 }, 0, ring.View{Frames: 500, Oldest: begin}, "", at(288 * time.Second)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := fresh()
			if tt.change != nil {
				tt.change(&tr)
			}
			got, next := tr.due(at(tt.now), tt.view)
			require.Equal(t, tt.want, got)
			require.Equal(t, tt.next, next)
		})
	}
	tr := fresh()
	tr.took(time.Hour)
	tr.redraw(0.999)
	require.Equal(t, 75*time.Second, tr.takes)
	require.Less(t, tr.share, time.Minute)
}
