package bench

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Sample is what one run of a subject cost, by unit, such as "us/span".
type Sample map[string]float64

// Subject is one of those that are compared.
type Subject struct {
	// Name is that of a benchmark, in benchstat's form:
	// Agent/exporter=lifeline/request=100.
	Name string
	// Run does the work once. Setting up what is measured is not part of it.
	Run func(context.Context) (Sample, error)
}

// Table collects the samples of a comparison. The zero value is empty and ready.
type Table struct {
	rows map[string][]Sample
}

// Compare runs the subjects in turns, rounds times, and writes a line per run to
// out. One more turn before them warms up and is not counted.
func (t *Table) Compare(ctx context.Context, out io.Writer, rounds int, subjects []Subject) error {
	for round := range rounds + 1 {
		for _, s := range subjects {
			sample, err := s.Run(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			if round == 0 {
				continue
			}
			t.add(s.Name, sample)
			fmt.Fprintln(out, line(s.Name, sample))
		}
	}
	return nil
}

func (t *Table) add(name string, s Sample) {
	if t.rows == nil {
		t.rows = map[string][]Sample{}
	}
	t.rows[name] = append(t.rows[name], s)
}

// line writes a sample as go test writes the result of a benchmark.
func line(name string, s Sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Benchmark%s 1", name)
	for _, unit := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, " %.5g %s", s[unit], unit)
	}
	return b.String()
}

// Median returns the median of a subject's samples in the unit; 0 without any.
func (t *Table) Median(name, unit string) float64 {
	values := make([]float64, 0, len(t.rows[name]))
	for _, s := range t.rows[name] {
		values = append(values, s[unit])
	}
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// Ratio returns the median of ours divided by that of theirs.
func (t *Table) Ratio(ours, theirs, unit string) float64 {
	return t.Median(ours, unit) / t.Median(theirs, unit)
}
