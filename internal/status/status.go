// Package status is how components tell the status page their state: as tables of
// typed values, of which both the page and its JSON are made. The page knows no
// component, and a component knows no page: Register finds the pages of the host,
// and without any it does nothing.
//
// It starts no goroutine. Register may be called from any goroutine.
package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.opentelemetry.io/collector/component"
)

// Source is a component that has something to tell.
type Source struct {
	Kind component.Kind
	ID   component.ID
	// Tables returns the state of now. It is called for every page, from one goroutine
	// at a time, and perhaps once more just after the source was taken out. It must be
	// cheap and must not wait for anything but a lock that is held briefly: the page
	// gives up on one that takes its time. The caller owns the tables.
	Tables func() []*Table
}

// Page takes sources. Extensions implement it; they must take them from the moment
// they are made, because others may be started first.
type Page interface {
	AddSource(Source) (remove func())
}

// Register adds s to every page of host, whether or not it is started already. The
// function it returns takes s out again; a second call does nothing.
func Register(host component.Host, s Source) (unregister func()) {
	var remove []func()
	for _, extension := range host.GetExtensions() {
		if page, ok := extension.(Page); ok {
			remove = append(remove, page.AddSource(s))
		}
	}
	return sync.OnceFunc(func() {
		for _, r := range remove {
			r()
		}
	})
}

// MaxRows is the most rows of a table.
const MaxRows = 100

// Table has a title, columns and some rows. The first MaxRows are kept and the
// others counted, so add what matters most first.
type Table struct {
	Title   string
	Columns []string
	Rows    [][]Value
	More    int // rows that were not kept
}

// NewTable returns an empty table.
func NewTable(title string, columns ...string) *Table { return &Table{Title: title, Columns: columns} }

// Add adds a row, with one value for each column, and returns t.
func (t *Table) Add(row ...Value) *Table {
	if len(row) != len(t.Columns) {
		panic(fmt.Sprintf("status: %s: %d values for %d columns", t.Title, len(row), len(t.Columns)))
	}
	if len(t.Rows) == MaxRows {
		t.More++
		return t
	}
	t.Rows = append(t.Rows, row)
	return t
}

// Sorted yields what m holds in the order of its keys.
func Sorted[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

// MarshalJSON implements json.Marshaler: every row becomes an object with the
// columns as keys, in which spaces are underscores.
func (t *Table) MarshalJSON() ([]byte, error) {
	rows := make([]map[string]Value, len(t.Rows))
	for i, row := range t.Rows {
		rows[i] = map[string]Value{}
		for k, v := range row {
			rows[i][strings.ReplaceAll(t.Columns[k], " ", "_")] = v
		}
	}
	return json.Marshal(map[string]any{"title": t.Title, "rows": rows, "more": t.More})
}
