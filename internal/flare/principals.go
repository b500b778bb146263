package flare

import (
	"maps"
	"slices"
)

// Enrolled returns the principals that a line of their own names and that are not
// revoked, each once, in order. Whom an authority certified is not known.
func (p *Opener) Enrolled() []string {
	if p.Signers == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.Signers.names)), p.Revoked.principal)
}

// Knows reports whether somebody may sign as principal: a line names it, or one of
// an authority matches it, and it is not revoked.
func (p *Opener) Knows(principal string) bool {
	return !p.Revoked.principal(principal) && p.Signers.knows(principal)
}

func (s *Signers) knows(principal string) bool {
	if s == nil || s.names[principal] {
		return s != nil
	}
	for _, lines := range s.cas {
		for i := range lines {
			if matchList(lines[i].principals, principal) {
				return true
			}
		}
	}
	return false
}
