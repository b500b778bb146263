package stack

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

// Verdict is what `lifeline flare verify --json` says about a good flare.
type Verdict struct {
	Principal string         `json:"principal"`
	Manifest  flare.Manifest `json:"manifest"`
}

func parseVerdict(out string) (Verdict, error) {
	var v Verdict
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return Verdict{}, fmt.Errorf("lifeline flare verify printed %q: %w", out, err)
	}
	return v, nil
}

// Items says how much is in the flare, by signal.
func (v Verdict) Items() string {
	var parts []string
	for _, signal := range slices.Sorted(maps.Keys(v.Manifest.Totals)) {
		parts = append(parts, fmt.Sprintf("%d %s", v.Manifest.Totals[signal].Items, signal))
	}
	return strings.Join(parts, " + ")
}

// Causes says why the agent could not reach its gateway.
func (v Verdict) Causes() string {
	var parts []string
	for _, cause := range slices.Sorted(maps.Keys(v.Manifest.Report.Causes)) {
		parts = append(parts, fmt.Sprintf("%s ×%d", cause, v.Manifest.Report.Causes[cause]))
	}
	return strings.Join(parts, ", ")
}
