package recovery

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// narrow is a gateway that takes a second for a record, and has room for one.
type narrow struct{ otlpsend.Transport }

func (g narrow) Send(ctx context.Context, r *otlpsend.Request) otlpsend.Answer {
	time.Sleep(time.Second)
	a := g.Transport.Send(ctx, r)
	a.Window = 1
	return a
}

// A flare of many records does not keep small ones waiting for its end.
func TestALargeFlareTakesTurns(t *testing.T) {
	inWorld(t, func(w *world) {
		var many []frame.Frame
		for range 20 * turnOf {
			many = append(many, w.logs("acme/host-17", 1, "x"))
		}
		one := func() { w.flare("acme/host-17", w.logs("acme/host-17", 1, "x")) }
		one()
		time.Sleep(time.Second)
		w.flare("acme/host-17", many...)
		time.Sleep(time.Second)
		for range 5 {
			one()
		}
		w.set.Flares, w.set.Senders = 8, 8
		w.set.Transport = narrow{w.set.Transport}
		var items []int64
		w.set.Observer.Flare = func(e Event) { items = append(items, e.Items) }
		w.run(10 * time.Minute)
		require.Equal(t, []int64{1, 1, 1, 1, 1, 1, 20 * turnOf}, items)
	})
}
