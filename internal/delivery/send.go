package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/ring"
)

// splitAfter is how often a frame may fail while others are acked before it is
// split: somewhere in it is an item that the path does not stand.
const splitAfter = 5

// live is the life of one frame from its first attempt to its fate, inside one
// call. It runs in a goroutine of its own.
func (e *Engine) live(f *ring.Frame, first func(context.Context)) {
	defer e.kick()
	did := false
	do := func(ctx context.Context) error {
		did = true
		return e.deliver(ctx, f, first)
	}
	_ = e.s.Call(e.life.ctx, f.Signal(), f.Items(), do) // the ring knows the fate
	if !did {
		_ = e.deliver(e.life.ctx, f, first)
	}
}

// deliver returns nil if the frame was acked.
func (e *Engine) deliver(ctx context.Context, f *ring.Frame, attempt func(context.Context)) error {
	for {
		attempt(ctx)
		attempt = func(ctx context.Context) { e.attempt(ctx, f) }
		e.kick()
		select {
		case <-f.Done():
			return delivered(f)
		case <-f.Turn():
		case <-e.life.ctx.Done():
			select {
			case <-f.Done(): // the end came because this was the last ack
				return delivered(f)
			default:
				return errors.New("not delivered: shut down")
			}
		}
	}
}

// delivered returns nil if that is the fate of f.
func delivered(f *ring.Frame) error {
	if fate := f.Fate(); fate != ring.Delivered {
		return fmt.Errorf("not delivered: %s", fate)
	}
	return nil
}

// attempt sends f once and does what the answer says.
func (e *Engine) attempt(ctx context.Context, f *ring.Frame) {
	e.ring.SealLeased(f, otlpcodec.Compress)
	ctx, cancel := context.WithTimeout(ctx, e.s.Retry.Timeout)
	defer cancel()
	v, release, ok := e.ring.Begin(f, time.Now(), cancel)
	if !ok {
		return
	}
	epoch := e.path.epoch()
	answer := e.s.Transport.Send(ctx, e.request(&v, release))
	switch {
	case answer.Verdict == otlpsend.Delivered:
		e.acked(f, &answer)
	case errors.Is(ctx.Err(), context.Canceled):
		e.ring.Return(f) // a flare took it, or it is the end: the path is not to blame
	default:
		e.refused(f, &v, &answer, epoch)
	}
}

// knock probes with a frame that a flare holds. Its ack gives the flare up;
// every other answer is about the path alone, for the frame has another way.
func (e *Engine) knock(now time.Time) {
	ctx, cancel := context.WithTimeout(e.life.ctx, e.s.Retry.Timeout)
	b, ok := e.ring.Borrow(now, cancel)
	if !ok {
		cancel()
		return
	}
	epoch := e.path.epoch()
	ask := func(context.Context) {
		defer e.kick()
		defer cancel()
		answer := e.s.Transport.Send(ctx, e.request(&b.Value, b.Release))
		switch {
		case answer.Verdict == otlpsend.Delivered:
			e.acked(b.Frame, &answer)
		case errors.Is(ctx.Err(), context.Canceled):
			e.ring.Return(b.Frame)
		default:
			e.ring.Return(b.Frame)
			e.pathRefused(&answer, epoch, false)
		}
	}
	e.jobs.Go(func() {
		if b.First { // its ack must count as sent
			e.live(b.Frame, ask)
			return
		}
		ask(ctx)
	})
}

func (e *Engine) request(v *frame.Frame, release func()) *otlpsend.Request {
	header := map[string]string{
		frame.HeaderBatchID: string(v.BatchID),
		frame.HeaderFrame:   v.Header.String(),
		frame.HeaderSize:    strconv.FormatInt(v.RawSize, 10),
	}
	if e.s.Audience != "" {
		header[frame.HeaderAudience] = e.s.Audience
	}
	return &otlpsend.Request{
		Signal: v.Signal, Body: v.Stored, RawSize: v.RawSize,
		Header: header, Meta: v.Meta, Released: release,
	}
}

func (e *Engine) acked(f *ring.Frame, a *otlpsend.Answer) {
	rejected := min(a.Rejected, f.Items()) // a server may say what it likes
	e.ring.Ack(f, rejected)
	e.pathPassed(a)
	if rejected > 0 {
		e.observeRejected(f.Signal(), rejected, a.Message)
	}
}

func (e *Engine) pathPassed(a *otlpsend.Answer) {
	opened, news := e.path.passed(a)
	if opened {
		e.fb.gatewayIsBack(time.Now())
	}
	if news {
		e.tellPath()
	}
}

// refused does what an answer that is no ack means for the frame and the path.
func (e *Engine) refused(f *ring.Frame, v *frame.Frame, a *otlpsend.Answer, epoch uint64) {
	if a.Overload() {
		e.ring.Return(f) // nothing was learned about the frame
		e.pathRefused(a, epoch, false)
		return
	}
	judged := e.ring.Judge(f)
	switch {
	case a.Verdict == otlpsend.TooLarge:
		if e.split(f, v, a) {
			return
		}
	case a.Verdict == otlpsend.BadData && judged.OthersAcked:
		e.park(f, v, a)
		return
	case judged.Failures >= splitAfter && e.split(f, v, a):
		e.pathRefused(a, epoch, true)
		return
	}
	// The ring is told first: whoever sees the gate closed sees the frame held.
	e.ring.Nack(f)
	e.pathRefused(a, epoch, judged.Failures > 0)
}

func (e *Engine) pathRefused(a *otlpsend.Answer, epoch uint64, suspect bool) {
	if e.path.refused(a, epoch, suspect) {
		e.tellPath()
	}
}

// tellPath tells how the path is now, and not what made it so: whoever has news of it
// may be overtaken by somebody with newer ones.
func (e *Engine) tellPath() {
	e.path.telling.Lock()
	defer e.path.telling.Unlock()
	cause, err := e.path.state()
	if cause == e.path.told {
		return // somebody told it already
	}
	e.path.told = cause
	if e.s.Observer.Gateway != nil {
		e.s.Observer.Gateway(cause == otlpsend.CauseNone, cause, err)
	}
}

// split replaces the frame by its halves, or parks it if it has a single item.
// It returns false if the frame must be tried again as it is: there is no room,
// or it cannot be taken apart.
func (e *Engine) split(f *ring.Frame, v *frame.Frame, a *otlpsend.Answer) bool {
	raw, err := otlpcodec.Decompress(v.Stored, v.RawSize)
	if err != nil {
		e.ring.Corrupt(f)
		return true
	}
	left, right, err := otlpcodec.Split(v.Signal, raw)
	switch {
	case errors.Is(err, otlpcodec.ErrOneItem):
		e.ring.Park(f)
		e.observeRejected(v.Signal, v.Header.Items, a.Message)
		return true
	case err != nil:
		return false
	}
	return e.ring.Divide(f, half(left), half(right))
}

func half(p otlpcodec.Piece) ring.Half {
	var stored bytes.Buffer
	_ = otlpcodec.Compress(&stored, p.Raw) // fails only if the buffer does
	return ring.Half{Stored: stored.Bytes(), Raw: int64(len(p.Raw)), Items: p.Items}
}

// park sets a frame aside that the gateway proved bad, unless it is our memory
// that is: then nobody else needs to see it.
func (e *Engine) park(f *ring.Frame, v *frame.Frame, a *otlpsend.Answer) {
	if _, err := otlpcodec.Decompress(v.Stored, v.RawSize); err != nil {
		e.ring.Corrupt(f)
		return
	}
	e.ring.Park(f)
	e.observeRejected(v.Signal, v.Header.Items, a.Message)
}

func (e *Engine) observeRejected(s frame.Signal, items int64, message string) {
	if e.s.Observer.Rejected != nil {
		e.s.Observer.Rejected(s, items, message)
	}
}
