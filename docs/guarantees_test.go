// Package docs_test keeps the documents honest.
package docs_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A promise is worth as much as the test behind it, so the test must be there.
func TestEveryNamedTestExists(t *testing.T) {
	text, err := os.ReadFile("GUARANTEES.md")
	require.NoError(t, err)
	named := regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(named), 30)
	tree := os.DirFS("..")
	for _, name := range named {
		files, err := fs.Glob(tree, path.Join(name[1], "*_test.go"))
		require.NoError(t, err)
		found := false
		for _, file := range files {
			source, err := fs.ReadFile(tree, file)
			require.NoError(t, err)
			found = found || strings.Contains(string(source), "func "+name[2]+"(")
		}
		require.True(t, found, "%s has no %s", name[1], name[2])
	}
}
