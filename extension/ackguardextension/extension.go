package ackguardextension

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/ackrules"
)

const (
	askInterval = 10 * time.Minute
	askTimeout  = 15 * time.Second // for one Kafka exporter
)

type guard struct {
	cfg   *Config
	log   *zap.Logger
	build *debug.BuildInfo                                             // nil: not known
	ask   func(context.Context, *ackrules.Target) ([]topicInfo, error) // replaced in tests

	targets []ackrules.Target // set by NotifyConfigSnapshot, before Ready

	mu sync.Mutex
	// mu guards the following.
	start  context.Context    // of Start, without its end; nil before Start and after Shutdown
	cancel context.CancelFunc // nil: nobody asks
	wg     sync.WaitGroup
}

var (
	_ extension.Extension                         = (*guard)(nil)
	_ extensioncapabilities.ConfigSnapshotWatcher = (*guard)(nil)
	_ extensioncapabilities.PipelineWatcher       = (*guard)(nil)
)

func newGuard(set extension.Settings, cfg *Config) *guard {
	info, _ := debug.ReadBuildInfo()
	return &guard{cfg: cfg, log: set.Logger, build: info, ask: ask}
}

// Start does nothing yet: the configuration comes next.
func (g *guard) Start(ctx context.Context, _ component.Host) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.start = context.WithoutCancel(ctx)
	return nil
}

// NotifyConfigSnapshot looks at the configuration before any pipeline runs. With
// mode enforce a fault stops the Collector.
func (g *guard) NotifyConfigSnapshot(_ context.Context, snapshot extensioncapabilities.ConfigSnapshot) error {
	faults, err := g.check(snapshot)
	if err != nil {
		faults = append(faults, err.Error())
	}
	if g.cfg.Mode == modeWarn {
		for _, f := range faults {
			g.log.Warn("This gateway's acks are not to be trusted: " + f)
		}
		return nil
	}
	if len(faults) > 0 {
		return fmt.Errorf("ack_guard: this gateway's acks would not be true, so it does not start (`lifeline check` tells beforehand):\n%s", strings.Join(faults, "\n"))
	}
	return nil
}

func (g *guard) check(snapshot extensioncapabilities.ConfigSnapshot) ([]string, error) {
	gateway, err := ackrules.FromEffective(snapshot.Effective())
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be checked: %w", err)
	}
	var faults []string
	if g.build != nil {
		faults = ackrules.BuildFaults(g.build)
	}
	more, targets := gateway.Check(g.cfg.Allow)
	g.targets = targets
	return append(faults, more...), nil
}

// Ready starts asking the brokers: their answers warn, and stop nothing.
func (g *guard) Ready() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.start == nil || g.cancel != nil || len(g.targets) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(g.start)
	g.cancel = cancel
	g.wg.Go(func() { g.watch(ctx) })
	return nil
}

// NotReady does nothing: asking harms nobody while the pipelines drain.
func (*guard) NotReady() error { return nil }

// Shutdown ends the asking and waits for it. It is idempotent and may be called
// without Start.
func (g *guard) Shutdown(context.Context) error {
	g.mu.Lock()
	cancel := g.cancel
	g.start, g.cancel = nil, nil
	g.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	g.wg.Wait()
	return nil
}

// watch asks now and at every interval. What it finds is logged when it is new,
// and once more when it is gone.
func (g *guard) watch(ctx context.Context) {
	ticker := time.NewTicker(askInterval)
	defer ticker.Stop()
	known := make([][]string, len(g.targets))
	for {
		for i := range g.targets {
			now := g.look(ctx, &g.targets[i], known[i])
			if ctx.Err() != nil {
				return
			}
			g.tell(&g.targets[i], known[i], now)
			known[i] = now
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// tell logs what is in one of two lists of findings and not in the other.
func (g *guard) tell(t *ackrules.Target, before, now []string) {
	at := "exporters::" + t.Exporter.String() + "::"
	for _, line := range now {
		if !slices.Contains(before, line) {
			g.log.Warn(at + line)
		}
	}
	for _, line := range before {
		if !slices.Contains(now, line) {
			g.log.Info("No longer so: " + at + line)
		}
	}
}

const unasked = "brokers: "

// look asks the brokers of one exporter. What was known of topics stays true as
// long as they do not answer.
func (g *guard) look(ctx context.Context, t *ackrules.Target, known []string) []string {
	lines, err := g.askOne(ctx, t)
	if err == nil {
		return lines
	}
	kept := slices.DeleteFunc(slices.Clone(known), func(line string) bool { return strings.HasPrefix(line, unasked) })
	return append(kept, fmt.Sprintf(unasked+"%s could not be asked about their topics: %s", strings.Join(t.Client.Brokers, ", "), reason(err)))
}

func (g *guard) askOne(ctx context.Context, t *ackrules.Target) ([]string, error) {
	return askAndJudge(ctx, t, g.ask)
}

// AskTopics asks the brokers about the topics of one exporter, once, and returns
// a line for everything that makes an ack say less than it should.
func AskTopics(ctx context.Context, t *ackrules.Target) ([]string, error) {
	return askAndJudge(ctx, t, ask)
}

func askAndJudge(ctx context.Context, t *ackrules.Target, ask func(context.Context, *ackrules.Target) ([]topicInfo, error)) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	topics, err := ask(ctx, t)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, topic := range topics {
		lines = append(lines, topic.judge(t)...)
	}
	return lines, nil
}

// reason shortens the error that only says that nobody answered: its text
// differs from one time to the next.
func reason(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", askTimeout)
	}
	return err.Error()
}
