// Package trouble holds what is wrong with a component now, and tells the
// Collector whenever that changes. It logs nothing: who reports a trouble knows the
// words. It starts no goroutine.
package trouble

import (
	"errors"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/otel-lifeline/lifeline/internal/status"
)

// List is what is wrong with a component, by the name of what is in trouble. The
// component's status is OK while there is nothing, else a recoverable error that
// names all of it in the order of the names. The zero value is empty and has nobody
// to tell. It is safe for concurrent use and must not be copied.
type List struct {
	mu sync.Mutex
	// mu guards the following, and is held while hosts are told: they hear of
	// changes in the order in which these happened.
	hosts  []component.Host
	wrong  map[string]error
	silent bool // the status does not change any more
}

// Attach adds a host, of which a component has one for each signal, and tells it
// what is wrong already.
func (l *List) Attach(host component.Host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, host)
	if err := l.all(); err != nil && !l.silent {
		componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// Set says what is wrong with what, or, with nil, that it is right. It reports
// whether that is news: the same text is none. Who may learn two things of the same
// what at once must learn and say them under one lock, or the older could be said
// last.
func (l *List) Set(what string, err error) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.note(what, err) {
		return false
	}
	event := componentstatus.NewEvent(componentstatus.StatusOK)
	if err := l.all(); err != nil {
		event = componentstatus.NewRecoverableErrorEvent(err)
	}
	l.tell(event)
	return true
}

// Fail says that something is wrong for as long as the process lives. It is the
// last that hosts are told.
func (l *List) Fail(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.note(what, err)
	l.tell(componentstatus.NewPermanentErrorEvent(err))
	l.silent = true
}

// Wrong reports whether what is in trouble.
func (l *List) Wrong(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wrong[what] != nil
}

// Table is what the status page shows of the troubles in lists.
func Table(lists ...*List) *status.Table {
	table := status.NewTable("problems", "of", "problem")
	for _, l := range lists {
		l.mu.Lock()
		for what, err := range status.Sorted(l.wrong) {
			table.Add(status.Text(what), status.Problem(err))
		}
		l.mu.Unlock()
	}
	return table
}

// Close ends what hosts are told: a component that stops has no other news.
func (l *List) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent = true
}

// What follows is called with mu held.

// note remembers err, and reports whether it is news.
func (l *List) note(what string, err error) bool {
	before, was := l.wrong[what]
	switch {
	case err == nil:
		delete(l.wrong, what)
		return was
	case was && before.Error() == err.Error():
		return false
	case l.wrong == nil:
		l.wrong = map[string]error{}
	}
	l.wrong[what] = err
	return true
}

func (l *List) tell(event *componentstatus.Event) {
	if l.silent {
		return
	}
	for _, host := range l.hosts {
		componentstatus.ReportStatus(host, event)
	}
}

// all returns everything that is wrong as one error, nil if nothing is.
func (l *List) all() error {
	var errs []error
	for _, err := range status.Sorted(l.wrong) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
