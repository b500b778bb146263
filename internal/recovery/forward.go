package recovery

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// record is one record of a flare, or a half of one.
type record struct {
	frame.Frame
	text string        // lifeline-frame: of a whole record as the manifest holds it
	wait time.Duration // until the slot that the pacer gave it
}

// forward sends every record that is not settled, and a second time those that
// were refused while another one of their signal was acked behind them. When ctx ends,
// a flare of which something was sent goes on for a while: the next process would send
// that again.
func (l *Loop) forward(ctx context.Context, w *work, fl *flare.Flare) error {
	late, cancel := lasting(ctx)
	defer cancel()
	begun := len(w.acked) > 0
	send := func(r record) error {
		if !begun && ctx.Err() != nil {
			return errStopped
		}
		begun = true
		return l.forwardRecord(late, w, r)
	}
	for range 2 {
		if err := l.forwardOnce(send, w, fl); err != nil {
			return err
		}
		if !l.provable(w) {
			break
		}
	}
	return nil
}

// forwardRecord brings one record to its fate when its slot has come, in halves if
// it is too large. Its error is the path's.
func (l *Loop) forwardRecord(ctx context.Context, w *work, r record) error {
	l.outside(func() { sleep(ctx, r.wait) })
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case l.round.broken != nil:
		return errHalted
	case !l.ours(w.marker.FlareID):
		return errNotOurs
	case w.split[r.key()]:
		return l.forwardHalves(ctx, w, r, 0, nil)
	}
	begin := time.Now()
	var a otlpsend.Answer
	l.outside(func() { a = l.s.Gateway.send(ctx, w.marker, r) })
	acks := l.acks[r.Signal] // as of the answer: what is acked while r is cut says nothing about it
	switch a.Verdict {
	case otlpsend.Delivered:
		l.acks[r.Signal]++
		l.pace.acked(time.Since(begin), a.Window)
		w.ack(r.key())
		rejected := min(a.Rejected, r.Header.Items) // a server may say what it likes
		w.event.Items += r.Header.Items - rejected
		l.update(func(s *Snapshot) {
			s.RecoveredItems += r.Header.Items - rejected
			s.RejectedItems += rejected
		})
		return nil
	case otlpsend.TooLarge:
		return l.forwardHalves(ctx, w, r, acks, a.Err)
	case otlpsend.BadData:
		w.refuse(r, acks, a.Err)
		return nil
	default:
		return &pathError{part: "gateway", class: string(a.Cause), slow: a.Verdict == otlpsend.Broken, floor: a.RetryAfter, err: a.Err}
	}
}

// forwardHalves sends a record that was too large, for the reason why, as two;
// acks is how many records of its signal were acked when the server said so. The
// cut is the same every time, so halves that were acked stay acked.
func (l *Loop) forwardHalves(ctx context.Context, w *work, r record, acks uint64, why error) error {
	both, bad, err := l.cut(ctx, w.marker.FlareID, r.Frame)
	switch {
	case err != nil:
		delete(w.doubt, r.key()) // too large is not bad: what was said before is not proven
		return err
	case bad != nil:
		// Too large by itself: refused like bad data, proven like bad data.
		w.refuse(r, acks, fmt.Errorf("too large (%w), and not to be split: %w", why, bad))
		return nil
	}
	w.split[r.key()] = true
	delete(w.doubt, r.key())
	for _, h := range both {
		if w.settled(h.key()) {
			continue
		}
		h.wait = l.pace.reserve(h.Stored.Len())
		if err := l.forwardRecord(ctx, w, h); err != nil {
			return err
		}
	}
	return nil
}

// cut makes halves of a record of a flare; bad says why there are none. One is
// cut at a time: that bounds the memory, and the try markers of a flare are
// removed all together, so none of them may just be on its way.
func (l *Loop) cut(ctx context.Context, id string, f frame.Frame) (both [2]record, bad, err error) {
	l.outside(func() { l.line.cutting <- struct{}{} })
	defer func() { <-l.line.cutting }()
	defer l.untry(ctx, id, splitting) // also after an error: the marker may be there
	if err := l.try(ctx, id, splitting); err != nil {
		return both, nil, bucketPath(err)
	}
	l.outside(func() { both[0], both[1], bad = halves(f) })
	return both, bad, nil
}

// halves cuts a record in two by items.
func halves(f frame.Frame) (left, right record, err error) {
	leftID, rightID, ok := f.BatchID.Halves()
	if !ok {
		return left, right, otlpcodec.ErrOneItem
	}
	raw, err := otlpcodec.Decompress(f.Stored, f.RawSize)
	if err != nil {
		return left, right, err
	}
	a, b, err := otlpcodec.Split(f.Signal, raw)
	if err != nil {
		return left, right, err
	}
	if left, err = half(f, leftID, a); err == nil {
		right, err = half(f, rightID, b)
	}
	return left, right, err
}

func half(f frame.Frame, id frame.BatchID, p otlpcodec.Piece) (record, error) {
	var stored bytes.Buffer
	if err := otlpcodec.Compress(&stored, p.Raw); err != nil {
		return record{}, err
	}
	f.BatchID, f.RawSize, f.Stored = id, int64(len(p.Raw)), frame.Bytes(stored.Bytes())
	f.Header.Items, f.Header.Attempt = p.Items, 1
	return record{Frame: f, text: f.Header.String()}, nil
}
