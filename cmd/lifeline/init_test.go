package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/testdata/configs"
)

// What init writes is what tests run: other defaults, and nothing else.
func TestInitChangesDefaultsAndNothingElse(t *testing.T) {
	for _, name := range []string{"agent", "gateway", "recovery"} {
		shipped, err := os.ReadFile(filepath.Join("..", "..", "testdata", "configs", name+".yaml")) //nolint:gosec // our own files
		require.NoError(t, err)
		same, err := configs.Get(name, "/etc/lifeline/", nil)
		require.NoError(t, err)
		require.Equal(t, string(shipped), same)

		text, err := configs.Get(name, "/opt/keys", map[string]string{"LIFELINE_AUDIENCE": "globex", "NOBODY": "x"})
		require.NoError(t, err)
		require.Contains(t, text, "${env:LIFELINE_AUDIENCE:-globex}")
		require.NotContains(t, text, "/etc/lifeline")
		require.Equal(t, strings.Count(same, "\n"), strings.Count(text, "\n"))
	}
	_, err := configs.Get("consumer", "/etc/lifeline", nil)
	require.Error(t, err)
}
