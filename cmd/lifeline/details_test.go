package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// Whoever can write to the bucket chooses what a report says: it must not be
// able to add a row, or to move the cursor.
func TestDetailsQuoteWhatAReportSays(t *testing.T) {
	r := result{State: stateUnverified, Manifest: &flare.Manifest{Report: flare.Report{
		Version: "1\nprincipal\tacme/ceo\x1b[8m",
		Causes:  map[string]int64{"dns": 1},
		Sample:  map[string]string{"dns": "no\nprincipal\tacme/ceo\x1b[8m"},
	}}}
	text := r.details()
	require.Equal(t, 2, strings.Count(text, "acme/ceo"), text)
	require.NotContains(t, text, "\nprincipal")
	require.NotContains(t, text, "\x1b")
}
