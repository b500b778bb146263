// Package terraform_test reads the Terraform module as text: what runs it is not
// here. It keeps the module and the policies together.
package terraform_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func module(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("*.tf")
	require.NoError(t, err)
	require.Len(t, files, 2)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // of this folder
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}

// found returns what the group of a pattern matched, each once.
func found(pattern, text string) map[string]bool {
	set := map[string]bool{}
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		set[m[1]] = true
	}
	return set
}

// The module fills in the files that the tests prove on a real server, all of
// them, and knows every name in them.
func TestTheModuleUsesThePoliciesThatAreProven(t *testing.T) {
	text := module(t)
	templates, err := filepath.Glob("../policies/*.json")
	require.NoError(t, err)
	require.Len(t, templates, 2)
	used := found(`templatefile\("\$\{path\.module\}/([^"]+)", local\.names\)`, text)
	require.Len(t, used, len(templates))
	_, names, ok := strings.Cut(text, "names = {")
	require.True(t, ok)
	names, _, _ = strings.Cut(names, "}")
	known := found(`(?m)^\s*(\w+)\s*=`, names)
	for _, file := range templates {
		require.True(t, used[file], file)
		policy, err := os.ReadFile(file) //nolint:gosec // a file of this repository
		require.NoError(t, err)
		for name := range found(`\$\{(\w+)\}`, string(policy)) {
			require.True(t, known[name], "%s: ${%s}", file, name)
		}
	}
	require.Equal(t, found(`variable "(\w+)"`, text), found(`var\.(\w+)`, text), "variables are declared and used")
}

// A lifecycle rule without a prefix would delete what nobody recovered yet, and
// one for quarantine what nobody looked at.
func TestEveryLifecycleRuleHasAPrefix(t *testing.T) {
	text := module(t)
	_, rules, ok := strings.Cut(text, `resource "aws_s3_bucket_lifecycle_configuration"`)
	require.True(t, ok)
	require.Equal(t, strings.Count(rules, `status = "Enabled"`), strings.Count(rules, "filter {\n"))
	require.Equal(t, map[string]bool{"lifeline/done/": true, "f/": true}, found(`prefix = "([^"]*)"`, rules))
	require.Equal(t, 2, strings.Count(rules, "prefix = "))
}

// Brackets and quotes close, outside comments.
func TestTheModuleIsWhole(t *testing.T) {
	var open []rune
	closes := map[rune]rune{'}': '{', ']': '[', ')': '('}
	for line := range strings.Lines(module(t)) {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		require.Zero(t, strings.Count(line, `"`)%2, line)
		for _, c := range line {
			switch c {
			case '{', '[', '(':
				open = append(open, c)
			case '}', ']', ')':
				require.NotEmpty(t, open, line)
				require.Equal(t, closes[c], open[len(open)-1], line)
				open = open[:len(open)-1]
			}
		}
	}
	require.Empty(t, open)
}
