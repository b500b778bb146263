//go:build unix

package reload_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/reload"
)

// A pipe in the place of a file holds nobody up, and is taken for no new version.
func TestAPipeIsNotOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	f := reload.File("the_key", path, func(data []byte) (string, error) { return string(data), nil })
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := f.Get()
	require.ErrorContains(t, err, "is no regular file")
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path, []byte("good"), 0o600))
	require.NoError(t, f.Check())
	require.NoError(t, os.Remove(path))
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	require.ErrorContains(t, f.Check(), "is no regular file")
	value, err := f.Get()
	require.NoError(t, err)
	require.Equal(t, "good", value)
}
