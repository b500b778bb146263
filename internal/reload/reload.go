// Package reload reads a file again when it changes: a key, a credential or a
// certificate that an operator may replace at any time. A version that does not
// parse never takes the place of one that did.
//
// It starts no goroutine: a file is looked at when its value is asked for.
package reload

import (
	"fmt"
	"os"
	"sync"
)

// File is one file. It is safe for concurrent use and must not be copied after
// its first use.
type File[T any] struct {
	Key   string // of the configuration, for errors
	Path  string
	Parse func([]byte) (T, error)

	mu sync.Mutex
	// mu guards the following.
	seen  os.FileInfo // of the version looked at last; nil: none could be
	err   error       // what is wrong with that version
	value T           // of the last good version
	good  bool        // there was a good version
}

// Get returns the value in force. It fails only as long as there was never one.
func (f *File[T]) Get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	if f.good {
		return f.value, nil
	}
	return f.value, f.err
}

// Check says what is wrong with the file as it is now, even while an older
// version is in force.
func (f *File[T]) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	return f.err
}

// load looks at the file again if it changed, or if it could not be read.
func (f *File[T]) load() {
	now, err := os.Stat(f.Path)
	if err == nil && Same(f.seen, now) {
		return
	}
	f.seen = nil
	data, err := os.ReadFile(f.Path)
	if err != nil {
		f.err = fmt.Errorf("%s: %w; check the path and that this user may read it", f.Key, err)
		return
	}
	value, err := f.Parse(data)
	f.seen, f.err = now, nil
	if err != nil {
		f.err = fmt.Errorf("%s: %s: %w", f.Key, f.Path, err)
		return
	}
	f.value, f.good = value, true
}

// Same reports whether nothing was written to a file, or put in its place, between
// two looks at it. A file that was not there is nil, and the same as itself.
func Same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
