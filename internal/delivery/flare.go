package delivery

import (
	"context"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// job is one flare, from its trigger to its end.
type job struct {
	reason    flare.Reason
	last      bool // of a shutdown: what it does not save is lost
	started   time.Time
	abandoned chan struct{}   // closed: the frames have a better way
	ctx       context.Context // of its PUTs
	cancel    context.CancelFunc

	// Owned by its goroutine.
	sealer   *flare.Sealer
	lease    *ring.Flare
	frames   []frame.Frame
	bound    int64      // bytes
	blob     *ring.Blob // the sealed bytes
	manifest *flare.Manifest
	unknown  map[string]uint64 // by target: the seq of the latest blob that it may have
	rounds   int               // of tries over all targets that have ended
}

// telemetry reports whether j holds what could still be delivered.
func (j *job) telemetry() bool { return j.kind() == ring.Telemetry }

// mayBeStored reports whether a bucket may have the flare as it was sealed last.
func (j *job) mayBeStored() bool {
	for _, seq := range j.unknown {
		if seq == j.manifest.Seq {
			return true
		}
	}
	return false
}

func (j *job) kind() ring.Kind {
	switch j.reason {
	case flare.Rejected:
		return ring.Parked
	case flare.Drill:
		return ring.Drill
	default:
		return ring.Telemetry
	}
}

// startFlare begins a flare in a goroutine of its own.
func (e *Engine) startFlare(reason flare.Reason, last bool) {
	j := &job{reason: reason, last: last, started: time.Now(), abandoned: make(chan struct{}), unknown: map[string]uint64{}}
	j.ctx, j.cancel = context.WithCancel(e.life.ctx)
	e.fb.begin(j)
	e.jobs.Go(func() {
		defer e.kick()
		defer j.cancel()
		e.flare(j)
	})
}

// flare takes frames, seals them, and puts them until a bucket has them or
// there is no more reason to.
func (e *Engine) flare(j *job) {
	if !e.take(j) {
		return
	}
	e.kick()
	if err := e.seal(j); err != nil {
		e.ring.GiveUp(j.lease, false)
		e.finish(j, outcomeFailed)
		return
	}
	if len(j.frames) == 0 { // all were acked while it was taken
		e.finish(j, "")
		return
	}
	switch target, end := e.put(j); end {
	case stored:
		e.ring.Stored(j.lease, string(j.reason))
		if e.s.Observer.Flared != nil {
			e.s.Observer.Flared(j.manifest, target, time.Since(j.started), j.blob.Body().Len())
		}
		e.finish(j, outcomeStored)
	case abandoned:
		e.ring.GiveUp(j.lease, len(j.unknown) > 0)
		e.finish(j, outcomeGivenUp)
	default: // the end of a shutdown: nobody will ever know more
		reason := LostShutdown
		if len(j.unknown) > 0 {
			reason = LostFlareUnknown
		}
		e.ring.Lose(j.lease, string(reason))
		e.finish(j, outcomeFailed)
	}
}

// take gets the keys, the frames and the room for what is sealed of them.
func (e *Engine) take(j *job) bool {
	var err error
	if j.sealer, err = e.s.Flare.Sealer(); err != nil {
		e.observeKeys(err)
		e.fb.notTaken(j, false, e.s.Retry.MaxInterval)
		return false
	}
	j.lease = e.ring.Take(ring.FlareWish{Kind: j.kind(), Fits: j.fits(e.s.Flare.MaxSize)})
	if j.lease == nil && e.nothingLeft(j) { // it was acked or taken meanwhile
		e.fb.done(j, "", 0)
		return false
	}
	if j.lease == nil {
		e.fb.notTaken(j, false, e.s.Retry.MaxInterval)
		return false
	}
	if j.blob = e.ring.NewBlob(j.bound); j.blob == nil {
		e.ring.GiveUp(j.lease, false)
		e.fb.notTaken(j, true, e.s.Retry.InitialInterval)
		return false
	}
	e.fb.took(j)
	return true
}

// nothingLeft reports whether the ring has no frame of the kind that j takes.
func (e *Engine) nothingLeft(j *job) bool {
	v := e.ring.View()
	switch j.kind() {
	case ring.Parked:
		return v.Parked == 0
	case ring.Drill:
		return v.Drill.IsZero()
	default:
		return v.Takable == 0
	}
}

// fits returns the rule for how much the flare takes, and notes its bound. Only a
// single frame may need more than the share of one that ends a shutdown.
func (j *job) fits(most int64) func(n int, stored, meta int64) bool {
	limit := most
	if j.last {
		limit /= shutdownFlares
	}
	return func(n int, stored, meta int64) bool {
		bound := j.sealer.SizeBound(n, stored, meta)
		if bound > limit && (n > 1 || bound > most) {
			return false
		}
		j.bound = bound
		return true
	}
}

// seal writes the flare into its blob. From here on its frames, its seq and
// its bytes are fixed.
func (e *Engine) seal(j *job) error {
	j.frames = e.ring.Fix(j.lease)
	if len(j.frames) == 0 {
		j.blob.Close()
		return nil
	}
	return e.write(j)
}

// write seals the frames under a new id and a new seq.
func (e *Engine) write(j *job) error {
	j.manifest = e.describe(j)
	err := j.sealer.Seal(j.blob, j.manifest, j.frames)
	j.blob.Close()
	e.observeKeys(err)
	if err == nil {
		e.fb.sealed(j.blob.Body().Len())
	}
	return err
}

// rewrite seals the frames again because another object has the flare's key.
func (e *Engine) rewrite(j *job) error {
	j.blob.Free()
	if j.blob = e.ring.NewBlob(j.bound); j.blob == nil {
		return ErrFull
	}
	return e.write(j)
}

// describe returns the manifest but for what Seal fills in.
func (e *Engine) describe(j *job) *flare.Manifest {
	now := time.Now()
	m := &flare.Manifest{
		FlareID: e.s.Flare.NewID(), Audience: e.s.Audience, Agent: e.s.Agent, BootID: e.boot, Reason: j.reason,
		Report: flare.Report{Version: e.s.Version, Uptime: now.Sub(e.born).Milliseconds()},
		Lost:   map[string]int64{},
	}
	m.Seq, m.Unresolved = e.fb.nextSeq()
	m.Created = flare.TimeOf(now.Add(e.path.account(&m.Report)))
	for s, c := range e.ring.Snapshot().Signals {
		lost := int64(0)
		for _, n := range c.Lost {
			lost += n
		}
		if lost > 0 {
			m.Lost[frame.Signal(s).String()] = lost
		}
	}
	return m
}

func (e *Engine) finish(j *job, outcome string) {
	if j.blob != nil {
		j.blob.Free()
	}
	e.fb.done(j, outcome, e.s.Retry.MaxInterval)
}
