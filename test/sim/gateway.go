package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// gateway is the model of a gateway with Kafka behind it: what it takes is in
// the oracle's log for good.
type gateway struct {
	w     *World
	name  string
	moods []spell
	clock func() time.Time

	windows []spell // what it asks recoveries for; agents do not care
}

func (w *World) newGateway(name string) *gateway {
	return &gateway{
		w: w, name: name, moods: w.plan(name, "up", gatewayMoods), clock: w.clock(name),
		windows: w.plan("windows of "+name, "silent", windowMoods),
	}
}

// link is one process's way to the gateway. It implements otlpsend.Transport.
type link struct {
	gateway *gateway
	boot    *boot
}

// Send implements otlpsend.Transport.
func (l link) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	w, b := l.gateway.w, l.boot
	if closed(b.dead) {
		r.Released()
		return otlpsend.Answer{Verdict: otlpsend.Down, Cause: otlpsend.CauseTimeout, Err: errors.New("no answer")}
	}
	b.look()
	try := b.begins(r)
	if try == nil { // the oracle has told what is wrong with it
		r.Released()
		return otlpsend.Answer{Verdict: otlpsend.Broken, Cause: otlpsend.CauseClient, Err: errors.New("not readable")}
	}
	dice := w.dice("gateway", b.name(), r.Signal, try.header.Seq, try.batch[32:], try.header.Attempt)
	c, answer, kind := l.gateway.decide(dice, try)
	if kind == "half" {
		_, _ = r.Body.WriteTo(&short{left: r.Body.Len() / 2})
	}
	done, answered := b.passes(ctx, "send", c, dice, func() { w.oracle.arrives(b, r, try) })
	w.happened("gateway: "+when(kind, done), b.name(), r.Signal, try.header.Seq, try.batch[32:], try.header.Attempt, answered)
	l.finish(r, dice)
	if !answered {
		answer = otlpsend.Answer{
			Verdict: otlpsend.Down, Cause: otlpsend.CauseTimeout, Message: string(try.batch), Err: errors.New("no answer"),
		}
	}
	if closed(b.dead) {
		return answer
	}
	b.ends(try, &answer)
	return answer
}

// when adds to the name of a fault whether the effect came before it.
func when(kind string, done bool) string {
	if done {
		return kind + ", taken"
	}
	return kind + ", not taken"
}

// finish gives the body back, sometimes only after it was read again: clients
// may read on after the call has returned, and must not see other bytes.
func (l link) finish(r *otlpsend.Request, dice *rand.Rand) {
	if !chance(dice, 24) {
		r.Released()
		return
	}
	var before bytes.Buffer
	_, _ = r.Body.WriteTo(&before)
	later := between(dice, time.Millisecond, 20*time.Second)
	l.boot.reads.Go(func() {
		pause(l.boot.gone, later)
		var after bytes.Buffer
		_, _ = r.Body.WriteTo(&after)
		if !bytes.Equal(before.Bytes(), after.Bytes()) {
			l.gateway.w.failf("%s: the body of a frame changed while it was read", l.boot.name())
		}
		l.gateway.w.count("gateway: reads on after the answer", 1)
		r.Released()
	})
}

// short is a writer that breaks half way.
type short struct{ left int64 }

func (s *short) Write(b []byte) (int, error) {
	if int64(len(b)) > s.left {
		return int(s.left), io.ErrShortWrite
	}
	s.left -= int64(len(b))
	return len(b), nil
}

// decide draws how one request goes and what is answered.
func (g *gateway) decide(dice *rand.Rand, t *try) (c course, a otlpsend.Answer, kind string) {
	s := now(g.moods)
	mood := s.mood
	if mood == "flaky" {
		mood = pick(dice, "up", "up", "up", gatewayFoul[dice.IntN(len(gatewayFoul))], gatewayFair[dice.IntN(len(gatewayFair))])
	}
	c = fair(dice)
	a = otlpsend.Answer{Date: g.clock(), Message: string(t.batch)}
	poisoned := t.poisoned(s.salt)
	switch {
	case mood == "picky" && t.rawSize > 200<<(s.salt%8):
		c.effect = false
		return c, refuse(a, otlpsend.TooLarge, otlpsend.CauseClient), "too large"
	case mood == "poison" && len(poisoned) > 0, mood == "all_bad":
		c.effect = false
		return c, refuse(a, otlpsend.BadData, otlpsend.CauseClient), "bad data"
	case mood == "partial" && len(poisoned) > 0:
		t.refused = poisoned
		return c, g.ack(dice, t, mood), "partial success"
	case mood == "poison", mood == "picky":
		mood = "up"
	}
	c = c.fault(dice, mood)
	switch mood {
	case "lost":
		a = refuse(a, otlpsend.Down, pick(dice, otlpsend.CauseTimeout, otlpsend.CauseRefused, otlpsend.CauseServer))
	case "refused":
		a = refuse(a, otlpsend.Down, pick(dice, otlpsend.CauseRefused, otlpsend.CauseDNS, otlpsend.CauseTLSExpired, otlpsend.CauseTLSOther, otlpsend.CauseProxy))
	case "reset", "half":
		a = refuse(a, otlpsend.Down, otlpsend.CauseRefused)
	case "not_an_ack", "no_receipt", "wrong_receipt":
		// Somebody else in front, or a gateway behind a proxy that breaks its answers.
		c.effect = chance(dice, 3)
		a = g.ack(dice, t, mood)
	case "auth":
		a = refuse(a, otlpsend.Broken, otlpsend.CauseAuth)
	case "throttled":
		a = refuse(a, otlpsend.Down, otlpsend.CauseThrottled)
		a.RetryAfter = between(dice, time.Second, time.Hour)
	case "server":
		a = refuse(a, otlpsend.Broken, otlpsend.CauseServer)
	default:
		a = g.ack(dice, t, mood)
	}
	return c, a, mood
}

func refuse(a otlpsend.Answer, v otlpsend.Verdict, cause otlpsend.Cause) otlpsend.Answer {
	a.Verdict, a.Cause, a.Err = v, cause, errors.New("the gateway refuses")
	return a
}

// poisoned returns the records of the frame that a gateway with this salt takes
// for poison.
func (t *try) poisoned(salt uint64) (ids []int) {
	for _, id := range t.ids {
		if uint64(id)*0x9e3779b97f4a7c15>>40%43 == salt%43 { //nolint:gosec // ids are not negative
			ids = append(ids, id)
		}
	}
	return ids
}

// try is one request as the gateway reads it.
type try struct {
	signal  frame.Signal
	batch   frame.BatchID
	header  frame.Header
	rawSize int64
	ids     []int
	refused []int // of ids: what a partial success leaves out
}
