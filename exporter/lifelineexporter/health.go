package lifelineexporter

import (
	"maps"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// health turns troubles into the component's status. Only changes are reported;
// every trouble is recoverable, because none of them stops the agent: not the
// gateway's, and not the fallback's. Safe for concurrent use.
type health struct {
	mu sync.Mutex
	// mu guards the following.
	hosts    []component.Host
	troubles map[string]error // what: what is wrong with it
	closed   bool
}

// attach adds the host of one more signal and tells it where things stand.
func (h *health) attach(host component.Host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hosts = append(h.hosts, host)
	if first := h.first(); first != nil {
		componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(first))
	}
}

// set says that what is wrong, or, with nil, that it is right again. It reports
// whether that is news.
func (h *health) set(what string, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, was := h.troubles[what]
	if err == nil {
		delete(h.troubles, what)
	} else {
		if h.troubles == nil {
			h.troubles = map[string]error{}
		}
		h.troubles[what] = err
	}
	if was == (err != nil) && (!was || before.Error() == err.Error()) {
		return false
	}
	switch {
	case err != nil:
		h.report(componentstatus.NewRecoverableErrorEvent(err))
	case len(h.troubles) > 0:
		h.report(componentstatus.NewRecoverableErrorEvent(h.first()))
	default:
		h.report(componentstatus.NewEvent(componentstatus.StatusOK))
	}
	return true
}

// wrong reports whether what is in trouble.
func (h *health) wrong(what string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.troubles[what] != nil
}

// all returns what is wrong now.
func (h *health) all() map[string]error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.troubles)
}

// close ends the reports: a component that stops has no other news.
func (h *health) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

func (h *health) report(event *componentstatus.Event) {
	if h.closed {
		return
	}
	for _, host := range h.hosts {
		componentstatus.ReportStatus(host, event)
	}
}

// first returns a trouble, always the same one of several, or nil.
func (h *health) first() error {
	for _, what := range slices.Sorted(maps.Keys(h.troubles)) {
		return h.troubles[what]
	}
	return nil
}
