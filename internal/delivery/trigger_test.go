package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

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
