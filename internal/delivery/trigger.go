package delivery

import (
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// trigger decides when what is in the ring must be flared. It is pure.
type trigger struct {
	maxAge time.Duration
	usable int64         // bytes
	takes  time.Duration // what a flare takes, learned
	share  time.Duration // drawn anew for every flare: a fleet must not flare as one

	filling bool // more than highMark was reached and lowMark is not yet
	rate    rate
	grace   time.Time // the gateway came back: no flare for age before this
}

const (
	highMark = 90 // percent of the usable ring where a flare begins
	lowMark  = 75 // and where the last one ends
	halfMark = 50 // below it the net rate says nothing: bursts come and go

	minuteBetween = time.Minute // between two flares of rejected frames
	firstGuess    = 2 * time.Second
)

func newTrigger(s *Settings, usable int64) trigger {
	return trigger{maxAge: s.Ring.MaxAge, usable: usable, takes: min(firstGuess, s.Ring.MaxAge/10)}
}

// due returns why telemetry must be flared now, or "" and when to ask again;
// the time is zero if only more data can change the answer.
func (t *trigger) due(now time.Time, v ring.View) (flare.Reason, time.Time) {
	t.rate.sample(now, v.Frames)
	switch {
	case v.Frames*100 > t.usable*highMark:
		t.filling = true
	case v.Frames*100 <= t.usable*lowMark:
		t.filling = false
	}
	if v.Oldest.IsZero() {
		return "", time.Time{}
	}
	if t.filling || t.fillsSoon(v.Frames) {
		return flare.RingFull, time.Time{}
	}
	at := t.expiry(v.Oldest)
	if at.Before(t.grace) {
		at = t.grace
	}
	if !now.Before(at) {
		return flare.Expired, time.Time{}
	}
	if v.Frames*100 > t.usable*halfMark {
		at = minTime(at, now.Add(time.Second)) // the rate wants to be sampled
	}
	return "", at
}

// expiry returns when what came at the given time is flared for its age.
func (t *trigger) expiry(from time.Time) time.Time { return from.Add(t.maxAge - t.takes - t.share) }

// fillsSoon reports whether the ring would be full, at the net rate, sooner
// than two flares take one after the other.
func (t *trigger) fillsSoon(used int64) bool {
	if used*100 <= t.usable*halfMark || t.rate.perSecond <= 0 {
		return false
	}
	return float64(t.usable-used)/t.rate.perSecond < (2 * t.takes).Seconds()
}

// took is told how long a flare of telemetry took.
func (t *trigger) took(d time.Duration) { t.takes = min((t.takes+d)/2, t.maxAge/4) }

// redraw draws the share for the next flare.
func (t *trigger) redraw(random float64) {
	t.share = time.Duration(random * float64(t.maxAge/5))
}

// reopened is told that the gateway takes data again: what is late anyway gets
// some time to go where it belongs. Not more often than once in max_age, or a
// gateway that comes and goes would keep data in memory for ever.
func (t *trigger) reopened(now time.Time) {
	if t.grace.IsZero() || now.Sub(t.grace) > t.maxAge {
		t.grace = now.Add(t.maxAge / 5)
	}
}

// rate is the net growth of the ring, smoothed.
type rate struct {
	at        time.Time
	used      int64
	perSecond float64
}

func (r *rate) sample(now time.Time, used int64) {
	if r.at.IsZero() {
		r.at, r.used = now, used
		return
	}
	past := now.Sub(r.at)
	if past < time.Second {
		return
	}
	r.perSecond = (r.perSecond + float64(used-r.used)/past.Seconds()) / 2
	r.at, r.used = now, used
}

// minTime returns the earlier of two times, of which the zero one means never.
func minTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
