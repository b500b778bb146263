package recovery

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// refuse answers some records with bad data.
func refuse(ids ...frame.BatchID) func(context.Context, *otlpsend.Request) otlpsend.Answer {
	return func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
		for _, id := range ids {
			if r.Header[frame.HeaderBatchID] == string(id) {
				return badData()
			}
		}
		return otlpsend.Answer{}
	}
}

// Records acked before the path broke are not sent again by this process.
func TestAckedIsNotSentAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		var frames []frame.Frame
		for range 10 {
			frames = append(frames, w.logs("acme/host-17", 1, "x"))
		}
		w.flare("acme/host-17", frames...)
		failed := 0
		w.gateway.answer = func(context.Context, *otlpsend.Request) otlpsend.Answer {
			if n := len(w.gateway.requests); n == 5 || n == 8 {
				failed++
				return down()
			}
			return otlpsend.Answer{}
		}
		l := w.run(10 * time.Minute)
		require.Equal(t, 2, failed)
		require.Len(t, w.gateway.requests, 12)
		require.Len(t, w.gateway.got, 10)
		require.EqualValues(t, 10, l.Snapshot().RecoveredItems)
		require.Equal(t, []string{"recovered"}, w.states())
		require.EqualValues(t, 10, w.events[0].Items)
	})
}

// One batch id in two signals, which nothing keeps a writer from: both records
// are sent. Taken for one, the second would be deleted without an ack.
func TestOneBatchIDInTwoSignals(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.logs("acme/host-17", 1, "x")
		b := a
		b.Signal = frame.Traces
		w.flare("acme/host-17", b, a)
		w.run(5 * time.Minute)
		sent := map[frame.Signal]int{}
		for _, r := range w.gateway.requests {
			sent[r.Signal]++
		}
		require.Equal(t, map[frame.Signal]int{frame.Logs: 1, frame.Traces: 1}, sent)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// Two bad records among good ones: the good ones arrive once, the flare ends in
// quarantine with a marker, and other flares are not held up.
func TestTwoBadRecords(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.logs("acme/host-17", 1, "bad")
		b := w.logs("acme/host-17", 2, "good")
		c := w.logs("acme/host-17", 1, "bad too")
		d := w.logs("acme/host-17", 3, "good too")
		w.gateway.answer = refuse(a.BatchID, c.BatchID)
		id := w.flare("acme/host-17", a, b, c, d)
		other := w.logs("globex/db-1", 1, "other")
		w.flare("globex/db-1", other)
		l := w.run(5 * time.Minute)
		require.Equal(t, map[frame.BatchID]int{b.BatchID: 1, d.BatchID: 1, other.BatchID: 1}, w.gateway.got)
		require.ElementsMatch(t, []string{"quarantined refused_record", "recovered"}, w.states())
		require.Contains(t, w.under("lifeline/quarantine/"), "refused_record/"+id+".age")
		require.Len(t, w.under("lifeline/done/"), 2)
		require.Empty(t, w.under("f/"))
		require.NoError(t, l.Snapshot().PathError)
		require.EqualValues(t, 6, l.Snapshot().RecoveredItems)
	})
}

// A refusal proves nothing while nothing else is acked: a firewall in front of
// the gateway says 400 to everything. When it is gone the flare is recovered.
func TestRefusedIsNotProven(t *testing.T) {
	inWorld(t, func(w *world) {
		f, g := w.logs("acme/host-17", 1, "fine"), w.logs("globex/db-1", 1, "fine too")
		w.gateway.answer = refuse(f.BatchID, g.BatchID)
		w.flare("acme/host-17", f)
		w.flare("globex/db-1", g)
		l := New(w.set)
		w.resume(l, time.Hour)
		require.Greater(t, len(w.gateway.requests), 100)
		require.Equal(t, []string{"waiting refused", "waiting refused"}, w.states())
		require.NoError(t, l.Snapshot().PathError, "set aside, not a broken path")
		require.Len(t, w.under("f/"), 2)

		w.gateway.answer = refuse(f.BatchID)
		w.resume(l, time.Minute)
		require.Equal(t, 1, w.gateway.got[g.BatchID])
		w.gateway.answer = nil
		// Only a refusal after the ack of g would have proven f bad.
		require.Contains(t, w.states(), "quarantined refused_record")
	})
}

// What is refused before an ack and taken after it was never bad.
func TestRefusedThenTaken(t *testing.T) {
	inWorld(t, func(w *world) {
		f, g := w.logs("acme/host-17", 1, "first"), w.logs("acme/host-17", 1, "second")
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if len(w.gateway.requests) == 1 {
				return badData()
			}
			return otlpsend.Answer{}
		}
		w.flare("acme/host-17", f, g)
		w.run(time.Minute)
		require.Equal(t, []string{"recovered"}, w.states())
		require.Equal(t, map[frame.BatchID]int{f.BatchID: 1, g.BatchID: 1}, w.gateway.got)
	})
}

// A record that is too large goes in halves, down to what fits; what was acked
// of it is not sent again after a broken path.
func TestTooLargeGoesInHalves(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 8, "long enough to be counted")
		w.flare("acme/host-17", f)
		limit, failed := f.RawSize/3, false
		items := map[frame.BatchID]int64{}
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			id := frame.BatchID(r.Header[frame.HeaderBatchID])
			switch {
			case r.RawSize > limit:
				return otlpsend.Answer{Verdict: otlpsend.TooLarge, Err: fmt.Errorf("413")}
			case len(w.gateway.got) == 2 && !failed:
				failed = true
				return down()
			}
			raw, err := otlpcodec.Decompress(r.Body, r.RawSize)
			require.NoError(t, err)
			items[id], err = otlpcodec.Count(frame.Logs, raw)
			require.NoError(t, err)
			h, err := frame.ParseHeader(r.Header[frame.HeaderFrame])
			require.NoError(t, err)
			require.Equal(t, items[id], h.Items)
			require.EqualValues(t, 1, h.Attempt)
			return otlpsend.Answer{}
		}
		l := w.run(5 * time.Minute)
		require.True(t, failed)
		require.Len(t, w.gateway.got, 4)
		for id, n := range w.gateway.got {
			require.Equal(t, 1, n)
			require.Equal(t, f.BatchID, id.Root())
			require.EqualValues(t, 2, items[id])
		}
		require.EqualValues(t, 8, l.Snapshot().RecoveredItems)
		require.Equal(t, []string{"recovered"}, w.states())
	})
}

// A single item that is too large is refused data, proven like it.
func TestOneItemTooLarge(t *testing.T) {
	inWorld(t, func(w *world) {
		big, small := w.logs("acme/host-17", 1, "this one is much too long"), w.logs("acme/host-17", 1, "x")
		w.flare("acme/host-17", big, small)
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if r.RawSize >= big.RawSize {
				return otlpsend.Answer{Verdict: otlpsend.TooLarge, Err: fmt.Errorf("413")}
			}
			return otlpsend.Answer{}
		}
		w.run(time.Minute)
		require.Equal(t, []string{"quarantined refused_record"}, w.states())
		require.Equal(t, map[frame.BatchID]int{small.BatchID: 1}, w.gateway.got)
	})
}

// One flare that breaks the path every time does not keep others from arriving.
func TestOneFlareBreaksThePath(t *testing.T) {
	inWorld(t, func(w *world) {
		bad := w.logs("acme/host-17", 1, "the proxy resets on this")
		w.flare("acme/host-17", bad)
		time.Sleep(time.Minute)
		w.gateway.answer = func(_ context.Context, r *otlpsend.Request) otlpsend.Answer {
			if r.Header[frame.HeaderBatchID] == string(bad.BatchID) {
				return down()
			}
			return otlpsend.Answer{}
		}
		for range 20 {
			w.flare("globex/db-1", w.logs("globex/db-1", 1, "fine"))
		}
		w.run(5 * time.Minute)
		require.Len(t, w.gateway.got, 20)
		require.Len(t, w.under("f/"), 1)
	})
}

// max_rate is a ceiling over stored bytes.
func TestMaxRate(t *testing.T) {
	inWorld(t, func(w *world) {
		var stored int64
		for range 20 {
			f := w.logs("acme/host-17", 1, "x")
			stored += f.Stored.Len()
			w.flare("acme/host-17", f)
		}
		w.set.Gateway.MaxRate = stored / 10 // ten seconds of work
		var at []time.Time
		w.gateway.seen = func(*otlpsend.Request) { at = append(at, time.Now()) }
		w.run(time.Minute)
		require.Len(t, at, 20)
		took := at[19].Sub(at[0])
		require.InDelta(t, 9.5, took.Seconds(), 0.5)
	})
}

// What a server drops by partial success is counted apart.
func TestPartialSuccess(t *testing.T) {
	inWorld(t, func(w *world) {
		f := w.logs("acme/host-17", 5, "x")
		w.flare("acme/host-17", f)
		w.set.Gateway.Transport = partial{}
		l := w.run(time.Minute)
		require.EqualValues(t, 3, l.Snapshot().RecoveredItems)
		require.EqualValues(t, 2, l.Snapshot().RejectedItems)
	})
}

type partial struct{}

func (partial) Send(context.Context, *otlpsend.Request) otlpsend.Answer {
	return otlpsend.Answer{Verdict: otlpsend.Delivered, Rejected: 2}
}

// A process that is told to stop in the middle of a flare brings it to its end, so that
// the next one sends nothing again. It does not wait for ever, and begins nothing.
func TestStoppedInTheMiddleOfAFlare(t *testing.T) {
	const n = 40
	for name, c := range map[string]struct {
		stopAt int  // the request during which Run is told to stop
		hangs  bool // and every one from there
		left   int  // flares of 3
		sent   int  // records
	}{
		"acks come": {5, false, 2, n},
		"acks end":  {5, true, 3, 4},
		"the first": {1, false, 2, n},
		"two begun": {2*turnOf + 2, false, 1, 2 * n},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.set.Flares = 3
				w.flare("acme/host-17", w.logs("acme/host-17", 1, "x"))
				l := w.run(time.Second) // the path is proven: three flares are worked on at a time
				*w.gateway = gateway{t: w.t, got: map[frame.BatchID]int{}}
				for range 3 {
					var frames []frame.Frame
					for range n {
						frames = append(frames, w.logs("acme/host-17", 1, "x"))
					}
					w.flare("acme/host-17", frames...)
				}
				ctx, cancel := context.WithCancel(w.t.Context())
				defer cancel()
				var stopped time.Time
				w.gateway.answer = func(ctx context.Context, _ *otlpsend.Request) otlpsend.Answer {
					time.Sleep(time.Millisecond) // all three stand in line
					if len(w.gateway.requests) == c.stopAt {
						stopped = time.Now()
						cancel()
					}
					if c.hangs && ctx.Err() == nil && !stopped.IsZero() {
						<-ctx.Done()
						return down()
					}
					return otlpsend.Answer{}
				}
				l.Run(ctx)
				took := time.Since(stopped)
				require.Equal(t, c.hangs, took >= lateTimeout)
				require.Less(t, took, lateTimeout+time.Second)
				require.Len(t, w.gateway.got, c.sent)
				require.Len(t, w.under("f/"), c.left)
				require.Empty(t, w.under("lifeline/try/"))
				require.NoError(t, l.Snapshot().PathError)

				w.gateway.answer = nil
				w.run(time.Minute)
				require.Empty(t, w.under("f/"))
				again := 0
				for _, times := range w.gateway.got {
					again += times - 1
				}
				require.Equal(t, c.sent%n, again, "only what had no answer in time")
			})
		})
	}
}
