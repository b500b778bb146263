package bench

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCompareTakesTurns(t *testing.T) {
	var order strings.Builder
	subject := func(name string, cost float64) Subject {
		return Subject{name, func(context.Context) (Sample, error) {
			order.WriteString(name)
			cost *= 2
			return Sample{"us/span": cost, "B/span": 3}, nil
		}}
	}
	var table Table
	var out strings.Builder
	require.NoError(t, table.Compare(t.Context(), &out, 3, []Subject{subject("A", 1), subject("B", 2)}))
	require.Equal(t, "ABABABAB", order.String())
	require.InDelta(t, 8, table.Median("A", "us/span"), 0)
	require.InDelta(t, 0.5, table.Ratio("A", "B", "us/span"), 0)
	require.True(t, strings.HasPrefix(out.String(), "BenchmarkA 1 3 B/span 4 us/span\n"), out.String())

	broken := Subject{"C", func(context.Context) (Sample, error) { return nil, errors.New("no more sockets") }}
	require.EqualError(t, table.Compare(t.Context(), &out, 1, []Subject{broken}), "C: no more sockets")
}
