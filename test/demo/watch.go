package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
	"github.com/otel-lifeline/lifeline/test/kafka"
	"github.com/otel-lifeline/lifeline/test/proc"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// look is how often the demo looks at the world.
const look = 250 * time.Millisecond

// watch sees what an operator would see: the agent's metrics, the bucket with
// recovery's credential, Kafka as a consumer. It owns one goroutine, the
// consumer, which ends in unwatch.
type watch struct {
	w       *stack.Stack
	screen  *screen
	bucket  *s3bucket.Client
	client  *kgo.Client
	wg      sync.WaitGroup
	cancel  context.CancelFunc
	items   atomic.Int64 // in Kafka, every copy counted
	now     state
	seen    map[string]bool // flares
	reasons reasons
}

// state is what was last seen.
type state struct {
	ready       bool          // the agent could flare
	held, bytes int64         // items and bytes in the ring
	oldest      time.Duration // age of the oldest of them
	known       bool          // the bucket could be listed
	flares      int           // in the bucket
	items       int64         // in Kafka
}

// reasons counts flares by the reason in their manifest.
type reasons map[flare.Reason]int

func (r reasons) String() string {
	var parts []string
	for reason, n := range r {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func newWatch(ctx context.Context, w *stack.Stack, s *screen) (*watch, error) {
	b, err := s3bucket.New(w.S3.Config(s3.Recovery))
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.Kafka.Addr()), kgo.ConsumeTopics(kafka.Topics()...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, fmt.Errorf("watch Kafka: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	wt := &watch{w: w, screen: s, bucket: b, client: client, cancel: cancel, seen: map[string]bool{}, reasons: reasons{}}
	wt.wg.Go(func() { wt.consume(ctx) })
	return wt, nil
}

func (wt *watch) unwatch() {
	wt.cancel()
	wt.wg.Wait()
	wt.client.Close()
	wt.bucket.Close()
}

// consume counts the items in Kafka by what the records' headers say.
func (wt *watch) consume(ctx context.Context) {
	for ctx.Err() == nil {
		wt.client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if h, err := frame.ParseHeader(kafka.Header(r, frame.HeaderFrame)); err == nil {
				wt.items.Add(h.Items)
			}
		})
	}
}

// until looks at the world until cond holds of it, and fails after limit.
func (wt *watch) until(ctx context.Context, limit time.Duration, what string, cond func(*state) bool) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := proc.Until(limited, look, func(ctx context.Context) (bool, error) {
		if err := wt.look(ctx); err != nil {
			return false, err
		}
		return cond(&wt.now), nil
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("waited %s, and not yet: %s (%s)", limit, what, wt.now)
	}
	return err
}

// hold lets the world run for a while.
func (wt *watch) hold(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return wt.until(ctx, d+stack.StartTime, "time to pass", func(*state) bool { return time.Now().After(end) })
}

// look takes one look and shows it. Only a child that died and a scrape that
// does not add up are errors.
func (wt *watch) look(ctx context.Context) error {
	wt.now = state{items: wt.items.Load()}
	for _, r := range []*stack.Role{wt.w.Agent, wt.w.Recovery, wt.w.Gateway} {
		if err := r.Ended(ctx); err != nil {
			return err
		}
	}
	if wt.w.Agent.P != nil {
		if m, err := wt.w.Agent.Scrape(ctx); err == nil {
			wt.now.ready = m.Sum("otelcol_lifeline_flare_ready") > 0
			wt.now.held = int64(m.Sum("otelcol_lifeline_held_items"))
			wt.now.bytes = int64(m.Sum("otelcol_exporter_queue_size", `exporter="lifeline"`))
			wt.now.oldest = time.Duration(m.Sum("otelcol_lifeline_ring_oldest_age") * float64(time.Second))
			if err := conserved(m); err != nil {
				return err
			}
		}
	}
	page, err := wt.bucket.List(ctx, s3.Prefix, "")
	if wt.now.known = err == nil; err == nil {
		wt.now.flares = len(page.Objects)
		for _, o := range page.Objects {
			if err := wt.inspect(ctx, o); err != nil {
				return err
			}
		}
	}
	wt.screen.progressf("%s", wt.now)
	return nil
}

// conserved checks the promise of every single scrape: what was accepted is
// delivered, flared, rejected, lost or held, to the item.
func conserved(m proc.Samples) error {
	for _, signal := range []frame.Signal{frame.Traces, frame.Metrics, frame.Logs} {
		label := `signal="` + signal.String() + `"`
		var sum float64
		for _, fate := range []string{"delivered", "flared", "rejected", "lost", "held"} {
			sum += m.Sum("otelcol_lifeline_"+fate+"_items", label)
		}
		if accepted := m.Sum("otelcol_lifeline_accepted_items", label); sum != accepted {
			return fmt.Errorf("the agent's metrics do not add up for %s: %.0f accepted, %.0f accounted for", signal, accepted, sum)
		}
	}
	return nil
}

func (st state) String() string {
	return fmt.Sprintf("ring %d items %d KiB, oldest %.1f s · bucket %d flares · Kafka %d items", st.held, st.bytes>>10, st.oldest.Seconds(), st.flares, st.items)
}

// inspect fetches a flare that was not seen before and lets the lifeline
// command verify it. One that recovery took away meanwhile is none.
func (wt *watch) inspect(ctx context.Context, o bucket.Info) error {
	if wt.seen[o.Key] {
		return nil
	}
	data, _, err := wt.bucket.Get(ctx, o.Key, bucket.GetOptions{Limit: 64 << 20})
	if err != nil {
		if bucket.KindOf(err) == bucket.NotFound {
			return nil
		}
		return fmt.Errorf("fetch a flare: %w", err)
	}
	wt.seen[o.Key] = true
	file := wt.w.Path("flares", filepath.Base(o.Key))
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	v, err := wt.w.Verify(ctx, file)
	if err != nil {
		return err
	}
	wt.reasons[v.Manifest.Reason]++
	wt.screen.eventf("flare %s…: %d KiB, reason %s (%s), %s, signed by %s", filepath.Base(o.Key)[:8], len(data)>>10, v.Manifest.Reason, v.Causes(), v.Items(), v.Principal)
	return nil
}
