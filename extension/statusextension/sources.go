package statusextension

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otel-lifeline/lifeline/internal/status"
)

// patience is how long a page waits for the components. They answer from memory,
// in far less.
const patience = 2 * time.Second

// sources are the components that have something to say. The zero value is empty
// and ready. Its methods may be called concurrently.
type sources struct {
	mu    sync.Mutex
	all   map[*source]bool // mu guards it
	calls sync.WaitGroup   // nobody waits: a page does, but not for a component that hangs
}

// source is one component. It is asked by one page at a time, so a component that
// hangs costs one goroutine, however many pages are asked for.
type source struct {
	status.Source
	turn chan struct{} // holds a token while it is asked
}

// section is what one component said.
type section struct {
	Component string          `json:"component"`
	Problem   string          `json:"problem,omitempty"` // why there are no tables
	Tables    []*status.Table `json:"tables"`
}

// AddSource implements status.Page.
func (s *sources) AddSource(from status.Source) (remove func()) {
	added := &source{Source: from, turn: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*source]bool{}
	}
	s.all[added] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, added)
	}
}

// read asks all components at once, and gives up on those that do not answer
// within patience.
func (s *sources) read(ctx context.Context) []section {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.all))
	s.mu.Unlock()
	answers := make([]chan section, len(all))
	for i, one := range all {
		answers[i] = make(chan section, 1)
		s.calls.Go(func() { one.ask(ctx, answers[i]) })
	}

	out := make([]section, len(all))
	for i, one := range all {
		select {
		case out[i] = <-answers[i]:
			continue
		case <-ctx.Done():
		}
		select {
		case out[i] = <-answers[i]: // it was there in time, another was not
		default:
			out[i] = section{Component: one.name(), Problem: fmt.Sprintf("no answer within %s", patience)}
		}
	}
	slices.SortFunc(out, func(a, b section) int { return cmp.Compare(a.Component, b.Component) })
	return out
}

// name is what the component is called in a configuration.
func (s *source) name() string { return strings.ToLower(s.Kind.String()) + "s::" + s.ID.String() }

// ask waits for its turn and sends what the component says. A panic is shown, and
// goes no further.
func (s *source) ask(ctx context.Context, answer chan<- section) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	said := section{Component: s.name()}
	defer func() {
		if p := recover(); p != nil {
			said.Problem = status.Text(fmt.Sprint("panic: ", p)).String()
		}
		<-s.turn
		answer <- said
	}()
	said.Tables = s.Tables()
}
