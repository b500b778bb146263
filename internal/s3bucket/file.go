package s3bucket

import (
	"fmt"
	"os"
	"sync"
)

// file is a file that is read again when it changes. A version that does not
// parse never replaces one that did.
type file[T any] struct {
	key   string // of the configuration, for errors
	path  string
	parse func([]byte) (T, error)

	mu sync.Mutex
	// mu guards the following.
	seen  os.FileInfo // of the version looked at last; nil: none could be
	err   error       // what is wrong with that version
	value T           // of the last good version
	good  bool        // there was a good version
}

// get returns the value in force. It fails only as long as there was never one.
func (f *file[T]) get() (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	if f.good {
		return f.value, nil
	}
	return f.value, f.err
}

// check says what is wrong with the file as it is now, even while an older
// version is in force.
func (f *file[T]) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	return f.err
}

// load looks at the file again if it changed, or if it could not be read.
func (f *file[T]) load() {
	now, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(f.seen, now) && f.seen.ModTime().Equal(now.ModTime()) && f.seen.Size() == now.Size() {
		return
	}
	f.seen = nil
	data, err := os.ReadFile(f.path)
	if err != nil {
		f.err = fmt.Errorf("%s: %w; check the path and that this user may read it", f.key, err)
		return
	}
	value, err := f.parse(data)
	f.seen, f.err = now, nil
	if err != nil {
		f.err = fmt.Errorf("%s: %s: %w", f.key, f.path, err)
		return
	}
	f.value, f.good = value, true
}
