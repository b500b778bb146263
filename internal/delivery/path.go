package delivery

import (
	"cmp"
	"maps"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// path is what is known of the way to the gateway.
type path struct {
	random func() float64

	telling sync.Mutex     // held while the observer is told
	told    otlpsend.Cause // what it was told last; telling guards it

	mu sync.Mutex
	// mu guards the following.
	gate    gate
	down    otlpsend.Cause            // of the last refusal that counted; CauseNone: acked since
	err     error                     // of the refusal that was news, while down
	causes  map[otlpsend.Cause]int64  // attempts since the last ack
	samples map[otlpsend.Cause]string // one error of each
	offset  time.Duration             // to add to our clock to have the others'
}

func (p *path) free(now time.Time, running int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate.free(now, running)
}

// probeAt returns when a closed gate lets the next probe through.
func (p *path) probeAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate.draining || !p.gate.closed() {
		return time.Time{}
	}
	return p.gate.next
}

// wish returns what a sender may be given now, and from when on suspects are.
func (p *path) wish(now time.Time) (w ring.Wish, suspectsAt time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.Now = now
	if p.gate.closed() {
		w.Spread = p.gate.senders
	}
	if w.Suspects, suspectsAt = p.gate.mayRetry(now); w.Suspects {
		suspectsAt = time.Time{}
	}
	return w, suspectsAt
}

// spread returns among how many frames attempts take turns; see ring.Wish.
func (p *path) spread() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate.closed() {
		return p.gate.senders
	}
	return 0
}

func (p *path) epoch() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate.epoch
}

func (p *path) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate.drain()
}

// passed is told of an ack. It reports whether that opened the gate, and
// whether the path was down.
func (p *path) passed(a *otlpsend.Answer) (opened, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock(a.Date)
	p.causes, p.samples = nil, nil
	news = p.down != otlpsend.CauseNone
	p.down, p.err = otlpsend.CauseNone, nil
	return p.gate.passed(), news
}

// refused is told of an attempt that failed. It reports whether that is news: the
// gate closed, or it is closed for another cause. A suspect's failure never is.
func (p *path) refused(a *otlpsend.Answer, epoch uint64, suspect bool) (news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.causes == nil {
		p.causes, p.samples = map[otlpsend.Cause]int64{}, map[otlpsend.Cause]string{}
	}
	cause := cmp.Or(a.Cause, otlpsend.CauseClient)
	p.causes[cause]++
	if a.Err != nil {
		p.samples[cause] = sample(a.Err)
	}
	p.gate.refused(time.Now(), failure{
		epoch: epoch, broken: a.Verdict != otlpsend.Down, after: a.RetryAfter, random: p.random(), suspect: suspect,
	})
	if suspect {
		return false
	}
	if p.down == cause {
		return false
	}
	p.down, p.err = cause, a.Err
	return true
}

// state returns why the path is down; CauseNone: it is not.
func (p *path) state() (otlpsend.Cause, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down, p.err
}

// failures returns the causes of what failed since the last ack.
func (p *path) failures() map[otlpsend.Cause]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.causes)
}

// clock learns from the Date of an answer that is proven: a captive portal has
// a clock of its own, and a flare dated by it would wait in the bucket.
func (p *path) clock(date time.Time) {
	if !date.IsZero() {
		p.offset = time.Until(date)
	}
}

// sawDate is told of the clock of a store that answered.
func (p *path) sawDate(date time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clock(date)
}

// account fills in what a flare tells about the path.
func (p *path) account(r *flare.Report) (offset time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.ClockOffset = p.offset.Milliseconds()
	r.Causes, r.Sample = map[string]int64{}, map[string]string{}
	for cause, n := range p.causes {
		r.Causes[string(cause)] = n
	}
	for cause, text := range p.samples {
		r.Sample[string(cause)] = text
	}
	return p.offset
}

// maxSample bounds one error in a flare's report, in bytes.
const maxSample = 160

// sample returns err as one line of printable ASCII.
func sample(err error) string {
	text := []byte(err.Error())
	text = text[:min(len(text), maxSample)]
	for i, c := range text {
		if c < 0x20 || c > 0x7e {
			text[i] = '?'
		}
	}
	return string(text)
}
