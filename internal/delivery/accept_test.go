package delivery

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"agent":      func(s *Settings) { s.Agent = "a\"b" },
		"senders":    func(s *Settings) { s.Senders = 0 },
		"transport":  func(s *Settings) { s.Transport = nil },
		"frame size": func(s *Settings) { s.Frame.MaxSize = s.Ring.Capacity },
	} {
		t.Run(name, func(t *testing.T) {
			s := Settings{
				Agent: "a", Senders: 1, Transport: deafGateway{}, Frame: FrameSettings{MaxSize: 1 << 10},
				Ring: RingSettings{Capacity: 1 << 20, MaxAge: time.Minute},
			}
			_, err := New(s)
			require.NoError(t, err)
			change(&s)
			_, err = New(s)
			require.Error(t, err)
		})
	}
}

func TestAcceptRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) {
			s.Ring.Refuse, s.Flare = true, nil
			s.Frame = FrameSettings{MaxSize: 64 << 10, Linger: time.Second}
		})
		w.gw.set(down)
		w.padding = 10_000
		var err error
		for err == nil {
			err = w.accept(3)
			w.check()
		}
		require.ErrorIs(t, err, ErrFull)
		require.Greater(t, w.e.Snapshot().Used, int64(3<<20))
		w.wait(10 * time.Minute)
		require.Zero(t, sum(w.logs().Lost))
		require.ErrorIs(t, w.e.Accept(frame.Logs, nil, []otlpcodec.Piece{{Raw: make([]byte, 1<<20), Items: 1}}), ErrTooLarge)
		w.gw.set(up)
		w.wait(2 * time.Minute)
		require.NoError(t, w.accept(1), "there is room again")
		w.e.CloseIntake(frame.Logs)
		require.ErrorIs(t, w.accept(1), ErrClosed)
		require.NoError(t, w.e.Accept(frame.Traces, nil, nil))
		w.shutdown()
		w.nothingIsMissing()
	})
}

func TestDropsOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.Flare = nil })
		w.gw.set(down)
		w.padding = 10_000
		w.feed(3, time.Second, 5*time.Minute)
		got := w.logs()
		require.Positive(t, got.Lost[LostRingFull])
		require.Equal(t, got.Lost, w.lost)
		w.gw.set(up)
		w.wait(2 * time.Minute)
		w.shutdown()
		missing, _ := w.verify()
		require.Equal(t, sum(got.Lost), missing)
		_, oldest := w.gw.got["record-0"]
		require.False(t, oldest, "the oldest goes first")
	})
}

func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *Settings) { s.NewestFirst, s.Frame.Linger, s.Senders = true, 0, 1 })
		w.gw.set(down)
		for range 10 {
			require.NoError(t, w.accept(1))
			w.wait(time.Millisecond)
		}
		w.wait(5 * time.Second)
		var order []string
		w.gw.set(func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			order = append(order, w.records(r.Body, r.RawSize)...)
			return true, ack
		})
		w.wait(2 * time.Minute)
		require.Len(t, order, 10)
		rest := order[1:] // the first was a probe
		require.True(t, slices.IsSortedFunc(rest, func(a, b string) int { return strings.Compare(b, a) }), "%v", order)
		w.shutdown()
	})
}

func TestMetadataNeverMixes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		var mu sync.Mutex
		metas := map[string]int{}
		w.gw.set(func(_ context.Context, r *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
			mu.Lock()
			defer mu.Unlock()
			metas[metaKey(r.Meta)] += len(w.records(r.Body, r.RawSize))
			return true, ack
		})
		raw := func() []otlpcodec.Piece {
			p, err := new(otlpcodec.Scratch).EncodeLogs(oneRecord(), 0)
			require.NoError(t, err)
			return p
		}
		for range 3 {
			require.NoError(t, w.e.Accept(frame.Logs, map[string][]string{"tenant": {"a"}}, raw()))
			require.NoError(t, w.e.Accept(frame.Logs, map[string][]string{"tenant": {"b"}}, raw()))
			require.NoError(t, w.e.Accept(frame.Logs, nil, raw()))
		}
		w.wait(5 * time.Second)
		require.Equal(t, 3, w.gw.tries, "equal metadata joins")
		require.Equal(t, map[string]int{"": 3, `"tenant","a";`: 3, `"tenant","b";`: 3}, metas)
		w.shutdown()
	})
}
