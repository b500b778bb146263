//go:build !unix

package sim

import "time"

var started = time.Now()

// cpu returns the time that has passed: an upper bound of what one processor did.
func cpu() time.Duration { return time.Since(started) }
