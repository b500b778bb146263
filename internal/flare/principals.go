package flare

import (
	"maps"
	"slices"
)

// Principals returns the principals of the plain keys, each once, in order: the
// agents that are enrolled by name. Whom an authority certified is not known.
func (s *Signers) Principals() []string {
	if s == nil {
		return nil
	}
	names := map[string]bool{}
	for _, lines := range s.keys {
		for i := range lines {
			names[lines[i].principals] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
