package flare

import "strings"

// matchList matches s against a comma-separated list of patterns as OpenSSH
// does (PATTERNS in ssh_config(5)): `*` is any text, `?` any character, and a
// match of a pattern behind `!` refuses whatever else matches.
func matchList(list, s string) bool {
	found := false
	for pattern := range strings.SplitSeq(list, ",") {
		negated := strings.HasPrefix(pattern, "!")
		if !match(strings.TrimPrefix(pattern, "!"), s) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// match matches s against one pattern in time len(pattern) * len(s) at worst:
// a failure only ever goes back to the latest `*`.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
