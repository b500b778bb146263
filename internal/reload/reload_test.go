package reload_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/reload"
)

func TestAFileIsReadAgainWhenItChanges(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	parsed := 0
	f := reload.File("the_key", path, func(data []byte) (string, error) {
		parsed++
		if string(data) == "bad" {
			return "", errors.New("no key")
		}
		return string(data), nil
	})
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

// hanging is a file that hangs while it is read if it begins with "slow", until block
// is closed.
type hanging struct {
	*reload.Files[string]
	path  string
	block chan struct{}
	reads atomic.Int32
}

func newHanging(t *testing.T) *hanging {
	h := &hanging{path: filepath.Join(t.TempDir(), "key"), block: make(chan struct{})}
	h.Files = &reload.Files[string]{Key: "the_key", Paths: []string{h.path}, Read: func() (string, error) {
		h.reads.Add(1)
		text, err := os.ReadFile(h.path)
		if err == nil && strings.HasPrefix(string(text), "slow") {
			<-h.block
		}
		return string(text), err
	}}
	return h
}

// A filesystem that hangs keeps those who ask for a moment, once, whatever their number;
// what was good stays in force, and there is one look at a time.
func TestAFileThatHangsKeepsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		require.NoError(t, os.WriteFile(h.path, []byte("good"), 0o600))
		_, err := h.Get()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(h.path, []byte("slow one"), 0o600))

		began := time.Now()
		var asking sync.WaitGroup
		for range 50 {
			asking.Go(func() {
				value, err := h.Get()
				assert.Equal(t, "good", value, err)
			})
		}
		asking.Wait()
		require.Equal(t, time.Second, time.Since(began))
		require.EqualValues(t, 2, h.reads.Load(), "it hangs, and nobody else looks")
		for range 3 {
			value, err := h.Get()
			require.NoError(t, err)
			require.Equal(t, "good", value)
			require.EqualError(t, h.Check(), "the_key: no answer while reading "+h.path+"; check the filesystem that it is on")
		}
		require.Equal(t, time.Second, time.Since(began), "nobody waits for it any more")
		require.EqualValues(t, 2, h.reads.Load())

		close(h.block)
		synctest.Wait()
		require.NoError(t, h.Check())
		value, err := h.Get()
		require.NoError(t, err)
		require.Equal(t, "slow one", value)
		require.EqualValues(t, 2, h.reads.Load())
	})
}

// Without an older version there is more patience, and an end of it.
func TestAFileThatAlwaysHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		require.NoError(t, os.WriteFile(h.path, []byte("slow"), 0o600))
		began := time.Now()
		_, err := h.Get()
		require.ErrorContains(t, err, "no answer")
		require.Equal(t, 10*time.Second, time.Since(began))
		close(h.block)
		synctest.Wait()
		value, err := h.Get()
		require.NoError(t, err)
		require.Equal(t, "slow", value)
	})
}

// What is asked for while others look is looked at once more: their look may have begun
// before what the caller knows of.
func TestWhatIsThereBeforeTheCallIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		require.NoError(t, os.WriteFile(h.path, []byte("slow"), 0o600))
		var first sync.WaitGroup
		first.Go(func() { _, _ = h.Get() })
		synctest.Wait()
		require.EqualValues(t, 1, h.reads.Load(), "a look is in progress")
		require.NoError(t, os.WriteFile(h.path, []byte("newer"), 0o600))
		first.Go(func() {
			value, err := h.Get()
			assert.Equal(t, "newer", value, err)
		})
		synctest.Wait()
		close(h.block)
		first.Wait()
	})
}

// What is no file is refused unread: to open a pipe would wait for who writes to it.
func TestWhatIsNoFileIsNotOpened(t *testing.T) {
	h := newHanging(t)
	require.NoError(t, os.Mkdir(h.path, 0o700))
	require.EqualError(t, h.Check(), "the_key: "+h.path+" is no regular file; put one in its place")
	require.Zero(t, h.reads.Load())
	require.NoError(t, os.Remove(h.path))
	require.NoError(t, os.WriteFile(h.path+".real", []byte("good"), 0o600))
	require.NoError(t, os.Symlink(h.path+".real", h.path)) // as in a mounted secret
	value, err := h.Get()
	require.NoError(t, err)
	require.Equal(t, "good", value)
}

// Who asks for every request looks at the file once a second.
func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHanging(t)
		_, err := h.Recent()
		require.ErrorIs(t, err, os.ErrNotExist)
		require.NoError(t, os.WriteFile(h.path, []byte("one"), 0o600))
		recent := func() string {
			value, err := h.Recent()
			require.NoError(t, err)
			return value
		}
		require.Equal(t, "one", recent(), "what does not work is looked at each time")
		require.NoError(t, os.WriteFile(h.path, []byte("another"), 0o600))
		require.Equal(t, "one", recent())
		time.Sleep(time.Second)
		require.Equal(t, "another", recent())
		require.NoError(t, os.Remove(h.path))
		time.Sleep(time.Second)
		require.Equal(t, "another", recent(), "a good version stays")
	})
}
