package delivery

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// gateway answers as its script says. A request with an effect is decoded: its
// records have arrived.
type gateway struct {
	w      *world
	mu     sync.Mutex
	script func(ctx context.Context, r *otlpsend.Request, try int) (effect bool, a otlpsend.Answer)
	tries  int
	got    map[string][]string // record: batch ids it came with
	header map[string]string   // of the latest request
	late   []func()            // bodies that are still read
	keep   bool                // go on reading bodies after Send has returned
}

var (
	ack     = otlpsend.Answer{Verdict: otlpsend.Delivered}
	refusal = otlpsend.Answer{Verdict: otlpsend.Down, Cause: otlpsend.CauseRefused, Err: errors.New("connection refused")}
	timeout = otlpsend.Answer{Verdict: otlpsend.Down, Cause: otlpsend.CauseTimeout, Err: errors.New("timeout")}
	html    = otlpsend.Answer{Verdict: otlpsend.Broken, Cause: otlpsend.CauseNotAnAck, Err: errors.New("200 text/html")}
	tooBig  = otlpsend.Answer{Verdict: otlpsend.TooLarge, Cause: otlpsend.CauseClient, Message: "larger than max", Err: errors.New("413")}
	badData = otlpsend.Answer{Verdict: otlpsend.BadData, Cause: otlpsend.CauseClient, Message: "bad", Err: errors.New("400")}
)

type script = func(ctx context.Context, r *otlpsend.Request, try int) (bool, otlpsend.Answer)

func up(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer)   { return true, ack }
func down(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) { return false, refusal }
func lostAnswer(context.Context, *otlpsend.Request, int) (bool, otlpsend.Answer) {
	return true, timeout
}

func hung(ctx context.Context, _ *otlpsend.Request, _ int) (bool, otlpsend.Answer) {
	<-ctx.Done()
	return false, timeout
}

func (g *gateway) set(s script) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.script = s
}

// Send implements otlpsend.Transport.
func (g *gateway) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	g.w.check()
	g.mu.Lock()
	g.tries++
	try, s := g.tries, g.script
	g.header = r.Header
	g.mu.Unlock()
	effect, a := s(ctx, r, try)
	if effect {
		records := g.w.records(r.Body, r.RawSize)
		g.mu.Lock()
		for _, id := range records {
			g.got[id] = append(g.got[id], r.Header[frame.HeaderBatchID])
		}
		g.mu.Unlock()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keep {
		want := read(r.Body)
		g.late = append(g.late, func() {
			require.Equal(g.w.t, want, read(r.Body), "a page was used again while its body was read")
			r.Released()
		})
		return a
	}
	r.Released()
	return a
}

func read(b frame.Body) []byte {
	var buf bytes.Buffer
	_, _ = b.WriteTo(&buf)
	return buf.Bytes()
}
