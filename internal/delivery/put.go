package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// ending is how the attempts to put a flare ended.
type ending uint8

const (
	pending   ending = iota
	stored           // a bucket has it
	abandoned        // its frames have a better way
	cutOff           // a shutdown ended
)

const (
	deniedWait   = 10 * time.Minute // the longest backoff while every bucket denies
	hurriedWait  = time.Second      // the longest backoff in a shutdown
	sameTarget   = 3                // PUTs of unknown outcome to one bucket before the next one
	unknownPause = time.Second      // the most between two of them
	slowFailure  = 5 * time.Second  // what fails after this time kept us waiting
)

// put tries one bucket after the other, and again, until one has the flare.
func (e *Engine) put(j *job) (target string, end ending) {
	backoff := e.s.Retry.InitialInterval
	hurried := e.fb.hurried
	for {
		target, end, denied := e.round(j)
		if end != pending {
			return target, end
		}
		if !j.last && j.telemetry() && e.path.spread() == 0 {
			return "", abandoned // no bucket took it, and the gateway does
		}
		hurry := closed(e.fb.hurried)
		if hurry && denied { // no right now will be no right in a second
			if j.last {
				return "", cutOff
			}
			return "", abandoned // the gateway may still take what a shutdown sends
		}
		longest := e.s.Retry.MaxInterval
		if denied {
			longest = max(longest, deniedWait)
		}
		if hurry {
			longest, hurried = hurriedWait, nil
		}
		backoff = min(backoff, longest)
		if end := e.pause(j, time.Duration(e.s.Random()*float64(backoff)), hurried); end != pending {
			return "", end
		}
		backoff *= 2
	}
}

// pause waits, unless something makes waiting pointless.
func (e *Engine) pause(j *job, wait time.Duration, hurried <-chan struct{}) ending {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-j.abandoned:
		return abandoned
	case <-e.life.ctx.Done():
		return cutOff
	case <-hurried:
	case <-timer.C:
	}
	return pending
}

// round tries every bucket. Denied reports that all of them refused for good.
func (e *Engine) round(j *job) (target string, end ending, denied bool) {
	denied = true
	for _, t := range e.orderedTargets(j) {
		end, refused := e.putTo(j, &t)
		if end != pending {
			return t.Name, end, false
		}
		denied = denied && refused
	}
	j.rounds++
	return "", pending, denied
}

// putTo puts the flare into one bucket. What is known not to be stored goes to
// the next bucket at once; what may be stored is put there again, since then the
// bucket itself says whether it has it. But a bucket that asks for less, or that
// kept us waiting, has its next turn when the others had theirs: then a copy more
// costs less than the time.
func (e *Engine) putTo(j *job, t *Target) (end ending, refused bool) {
	for range sameTarget {
		switch {
		case closed(j.abandoned):
			return abandoned, false
		case e.life.ctx.Err() != nil:
			return cutOff, false
		}
		p, err := e.putOnce(j, t)
		// Crash here: the bucket has the flare, or may have it, and the frames
		// die with the process. Recovery forwards it; nothing is sent twice.
		kind := bucket.KindOf(err)
		switch {
		case p.stored:
			e.observeBucket(t.Name, nil)
			return stored, false
		case kind == bucket.Exists:
			if err := e.rewrite(j); err != nil {
				return abandoned, false
			}
			return pending, false
		case kind == bucket.Unreachable && j.ctx.Err() != nil: // cut off: that says nothing about the bucket
			return pending, false
		case kind != bucket.Unknown && kind != bucket.Throttled:
			e.observeBucket(t.Name, err)
			return pending, kind != bucket.Unreachable
		}
		j.unknown[t.Name] = j.manifest.Seq
		if j.ctx.Err() != nil { // cut off, too
			continue
		}
		e.observeBucket(t.Name, err)
		if kind == bucket.Throttled || p.slow && len(e.s.Flare.Targets) > 1 {
			return pending, false
		}
		if !closed(e.fb.hurried) {
			e.pause(j, time.Duration(e.s.Random()*float64(unknownPause)), e.fb.hurried)
		}
	}
	return pending, false
}

func (e *Engine) putOnce(j *job, t *Target) (putOf, error) {
	ctx, cancel := context.WithTimeout(j.ctx, e.putTime(j))
	defer cancel()
	if !closed(e.fb.hurried) {
		e.jobs.Go(func() { e.hurryPut(ctx, cancel, j) })
	}
	begin := time.Now()
	info, err := t.Bucket.Put(ctx, t.Prefix+j.manifest.FlareID+".age", j.blob.Body(), bucket.PutOptions{IfNoneMatch: true})
	date := info.Date
	if e, ok := errors.AsType[*bucket.Error](err); ok {
		date = e.Date
	}
	e.path.sawDate(date)
	p := putOf{target: t.Name, took: time.Since(begin)}
	p.stored = err == nil || bucket.KindOf(err) == bucket.Exists && j.unknown[t.Name] == j.manifest.Seq
	p.slow = err != nil && p.took >= slowFailure && j.ctx.Err() == nil
	e.putEnded(p)
	return p, err
}

// hurryPut ends a PUT that hangs when a shutdown begins in time for other
// attempts.
func (e *Engine) hurryPut(ctx context.Context, cancel func(), j *job) {
	select {
	case <-ctx.Done():
		return
	case <-e.fb.hurried:
	}
	timer := time.NewTimer(e.putTime(j))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		cancel()
	}
}

// putTime returns how long one PUT may take: in a shutdown at most half of what
// is left for every bucket, so that a bucket that hangs leaves time for more.
func (e *Engine) putTime(j *job) time.Duration {
	if !closed(e.fb.hurried) {
		return e.patience(j)
	}
	return time.Until(e.life.deadline()) / time.Duration(2*len(e.s.Flare.Targets))
}
