package reload_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/reload"
)

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	parsed := 0
	f := &reload.File[string]{Key: "the_key", Path: path, Parse: func(data []byte) (string, error) {
		parsed++
		if string(data) == "bad" {
			return "", errors.New("no key")
		}
		return string(data), nil
	}}
	// write replaces the file as deployments do: by rename.
	write := func(text string) {
		require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	_, err := f.Get()
	require.ErrorContains(t, err, "the_key: ")
	require.ErrorContains(t, err, "check the path and that this user may read it")

	write("bad")
	_, err = f.Get()
	require.ErrorContains(t, err, "the_key: "+path+": no key")

	write("one")
	for range 3 {
		value, err := f.Get()
		require.NoError(t, err)
		require.Equal(t, "one", value)
		require.NoError(t, f.Check())
	}
	require.Equal(t, 2, parsed, "a version is read once")

	for _, broken := range []func(){func() { write("bad") }, func() { require.NoError(t, os.Remove(path)) }} {
		broken()
		value, err := f.Get()
		require.NoError(t, err, "the last good version stays in force")
		require.Equal(t, "one", value)
		require.Error(t, f.Check())
	}
	write("two")
	value, err := f.Get()
	require.NoError(t, err)
	require.Equal(t, "two", value)
	require.NoError(t, f.Check())
}
