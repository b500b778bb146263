package s3bucket

import (
	"sync"
	"time"
)

const (
	// A Date has whole seconds and was some time on the way: less is noise.
	clockNoise = 2 * time.Second
	// If the local clock moved by more than this against the monotonic one, it was set.
	clockSet = 10 * time.Second
)

// clock is the store's clock as far as its answers tell it. Requests are signed
// with it: S3 refuses a signature that is 15 minutes off, and an agent's own
// clock would tell it apart from others.
type clock struct {
	mu sync.Mutex
	// mu guards the following: what the last answer said, and when.
	ahead time.Duration
	wall  time.Time // without a monotonic reading
	mono  time.Time
}

// learn takes the Date of an answer that has just come in.
func (c *clock) learn(date time.Time) {
	if date.IsZero() {
		return
	}
	now := time.Now()
	ahead := date.Add(500 * time.Millisecond).Sub(now)
	if ahead.Abs() <= clockNoise {
		ahead = 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead, c.wall, c.mono = ahead, now.Round(0), now
}

// offset returns what to add to the local clock to get the store's. It is 0
// again once the local clock was set: then it is more likely right than we are.
func (c *clock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if (now.Round(0).Sub(c.wall) - now.Sub(c.mono)).Abs() > clockSet {
		return 0
	}
	return c.ahead
}

func (c *clock) now() time.Time { return time.Now().Add(c.offset()) }
