package delivery

import "time"

// gate is the backoff of the endpoint: not of a frame and not of a sender. It
// is pure: time and randomness are passed in. While it is closed one probe runs
// at a time; while it is open 1, 2, 4 and so on up to all senders do.
type gate struct {
	retry   RetrySettings
	floor   time.Duration // the most that a server's wish may delay a probe
	senders int

	width    int           // attempts that may run at once while open; 0: closed
	interval time.Duration // the backoff of the next failure
	next     time.Time     // when the next probe may begin, while closed
	epoch    uint64        // counts failures that closed: those of attempts begun before are old news

	broken   int     // failures of a broken path since the gate was open
	suspects backoff // of frames that are bad themselves, as it seems

	draining bool // shutdown: every sender goes on until it failed once
	failed   int  // while draining
}

// backoff is how long something waits that failed.
type backoff struct {
	interval time.Duration // of the next failure
	next     time.Time     // nothing before
}

func newGate(s *Settings) gate {
	retry := s.Retry
	// A gateway that is back must be seen long before data gets old.
	retry.MaxInterval = min(retry.MaxInterval, s.Ring.MaxAge/10)
	retry.InitialInterval = min(retry.InitialInterval, retry.MaxInterval)
	return gate{retry: retry, floor: s.Ring.MaxAge / 5, senders: s.Senders, width: 1, interval: retry.InitialInterval, suspects: backoff{interval: retry.InitialInterval}}
}

func (g *gate) closed() bool { return g.width == 0 }

// free returns how many attempts may begin now beside those that run.
func (g *gate) free(now time.Time, running int) int {
	switch {
	case g.draining:
		return max(0, g.senders-g.failed-running)
	case !g.closed():
		return max(0, g.width-running)
	case running > 0 || now.Before(g.next):
		return 0
	}
	return 1
}

// passed is told that the gateway took a frame. It reports whether that opened
// the gate.
func (g *gate) passed() (opened bool) {
	opened = g.closed()
	g.interval, g.suspects.interval = g.retry.InitialInterval, g.retry.InitialInterval
	g.width = max(1, min(2*g.width, g.senders))
	return opened
}

// failure is what a gate needs to know of a failed attempt.
type failure struct {
	epoch  uint64        // of the gate when the attempt began
	broken bool          // the path answers, but wrongly: probe slowly
	after  time.Duration // the server's wish; 0: none
	random float64       // in [0, 1)

	// The frame failed before while others were acked, and the answer is not
	// about the endpoint's load: it tells more about the frame than of the path.
	suspect bool
}

// refused is told that an attempt failed.
func (g *gate) refused(now time.Time, f failure) {
	if g.draining {
		g.failed++
	}
	if f.suspect { // the gate stays as it is
		g.suspects.next = now.Add(time.Duration(f.random * float64(g.suspects.interval)))
		g.suspects.interval = min(2*g.suspects.interval, g.retry.MaxInterval)
		return
	}
	if f.epoch != g.epoch {
		return // it failed since: several failures at once are one
	}
	if !g.closed() {
		g.broken = 0
	}
	g.width = 0
	g.epoch++
	// Full jitter: a fleet that lost one gateway must not come back as one.
	wait := time.Duration(f.random * float64(g.interval))
	g.interval = min(2*g.interval, g.retry.MaxInterval)
	if f.broken {
		g.broken++
	}
	if f.broken && g.broken > g.senders { // until then it may be the frames that were tried
		wait = time.Duration((0.5 + f.random/2) * float64(g.retry.MaxInterval))
	}
	if f.after > 0 {
		wait = max(wait, min(time.Duration((1+f.random)*float64(f.after)), g.floor))
	}
	g.next = now.Add(wait)
}

// mayRetry reports whether a suspect may be sent, and else from when on.
func (g *gate) mayRetry(now time.Time) (bool, time.Time) {
	return g.draining || !now.Before(g.suspects.next), g.suspects.next
}

// drain opens the gate for the last time.
func (g *gate) drain() { g.draining, g.failed = true, 0 }
