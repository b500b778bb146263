// Package statustest is the status page in tests of components: a host with one
// page. Its methods may be called concurrently.
package statustest

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"

	"github.com/otel-lifeline/lifeline/internal/status"
)

// Page is a host and its only extension. The zero value is ready.
type Page struct {
	component.StartFunc
	component.ShutdownFunc

	mu  sync.Mutex
	all []*status.Source // mu guards it
}

// GetExtensions implements component.Host.
func (p *Page) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{component.MustNewID("lifeline_status"): p}
}

// AddSource implements status.Page.
func (p *Page) AddSource(s status.Source) (remove func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, &s)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all = slices.DeleteFunc(p.all, func(one *status.Source) bool { return one == &s })
	}
}

// Sources names the components on the page.
func (p *Page) Sources() (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		names = append(names, s.ID.String())
	}
	return names
}

// Show returns what the one component on the page says; see the function Show.
func (p *Page) Show(t *testing.T) map[string][]map[string]any {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	require.Len(t, p.all, 1)
	return Show(t, p.all[0].Tables())
}

// Show returns the rows of tables by title, as a program reads them in the JSON.
func Show(t *testing.T, tables []*status.Table) map[string][]map[string]any {
	t.Helper()
	out := map[string][]map[string]any{}
	for _, table := range tables {
		text, err := json.Marshal(table)
		require.NoError(t, err)
		var read struct{ Rows []map[string]any }
		require.NoError(t, json.Unmarshal(text, &read))
		require.NotContains(t, out, table.Title)
		out[table.Title] = read.Rows
	}
	return out
}
