// Package reload reads files again when they change: keys, credentials and
// certificates that an operator may replace at any time. A version that cannot be
// taken never takes the place of one that was.
//
// Files are looked at when their value is asked for, by one goroutine at a time that
// nobody has to wait for: a filesystem that hangs keeps those who ask for a moment, once.
package reload

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// How long one who asks waits for a look: for what is new, and for what there is at all.
const (
	patience      = time.Second
	firstPatience = 10 * time.Second
)

// recently is how old the look may be that Recent goes by.
const recently = time.Second

// Files are the files that a value is made of. They are safe for concurrent use and
// must not be copied after their first use.
type Files[T any] struct {
	Key   string            // of the configuration, for errors
	Paths []string          // some of them need not be there
	Read  func() (T, error) // makes the value; its errors name what is wrong. It is called by one at a time

	looks sync.WaitGroup // nobody waits: a look may hang
	seen  []os.FileInfo  // of the last look that read; nil: a file was not there. The look in progress owns it

	mu sync.Mutex
	// mu guards the following.
	looking chan struct{} // closed at the end of the look in progress; nil: there is none
	hangs   bool          // the look in progress is not waited for any more
	err     error         // what is wrong with the files as they were seen last
	value   T             // of the last good version
	good    bool          // there was a good version
	looked  time.Time     // when the last look began that has ended
}

// File returns the files of a value that is parsed from the bytes of one.
func File[T any](key, path string, parse func([]byte) (T, error)) *Files[T] {
	return &Files[T]{Key: key, Paths: []string{path}, Read: func() (none T, err error) {
		data, err := os.ReadFile(path) //nolint:gosec // a path of the configuration
		if err != nil {
			return none, fmt.Errorf("%s: %w; check the path and that this user may read it", key, err)
		}
		value, err := parse(data)
		if err != nil {
			return none, fmt.Errorf("%s: %s: %w", key, path, err)
		}
		return value, nil
	}}
}

// Get returns the value in force. It fails only as long as there was never one.
func (f *Files[T]) Get() (T, error) {
	f.look()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.good {
		return f.value, nil
	}
	return f.value, f.problem()
}

// Recent is Get for those who ask for every request: what changed within the last
// second may not be seen yet.
func (f *Files[T]) Recent() (T, error) {
	f.mu.Lock()
	value, recent := f.value, f.good && time.Since(f.looked) < recently
	f.mu.Unlock()
	if recent {
		return value, nil
	}
	return f.Get()
}

// Check says what is wrong with the files as they are now, even while an older
// version is in force.
func (f *Files[T]) Check() error {
	_, problem := f.State()
	return problem
}

// State is Get and Check by one look: the value in force, the zero value if there was
// never one, and what is wrong with the files as they are now.
func (f *Files[T]) State() (value T, problem error) {
	f.look()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.value, f.problem()
}

// problem is called with mu held.
func (f *Files[T]) problem() error {
	if f.hangs {
		return fmt.Errorf("%s: no answer while reading %s; check the filesystem that it is on", f.Key, strings.Join(f.Paths, ", "))
	}
	return f.err
}

// look has the files looked at after it was called: a look that was in progress may have
// seen less, the one behind it serves all who came meanwhile. It waits for that as long
// as its patience lasts, and not at all while a look hangs.
func (f *Files[T]) look() {
	f.mu.Lock()
	wait := firstPatience
	if f.good {
		wait = patience
	}
	f.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for waited, fresh := false, false; !fresh; waited = true {
		done, own := f.begin()
		if done == nil {
			return
		}
		fresh = own || waited
		select {
		case <-done:
		case <-timer.C:
			f.leave(done)
			return
		}
	}
}

// begin returns the end of the look in progress, nil if that hangs, and whether it
// began with this call.
func (f *Files[T]) begin() (done <-chan struct{}, own bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hangs {
		return nil, false
	}
	if own = f.looking == nil; own {
		f.looking = make(chan struct{})
		f.looks.Go(f.load)
	}
	return f.looking, own
}

// leave lets nobody wait for the look that ends with done.
func (f *Files[T]) leave(done <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looking == done {
		f.hangs = true
	}
}

// load is one look: it reads the files if one of them changed, or did not work. A
// right to read them that was given changes nothing that shows here.
func (f *Files[T]) load() {
	began := time.Now()
	now, err := f.stat()
	f.mu.Lock()
	same := f.good && f.err == nil
	f.mu.Unlock()
	same = same && err == nil && slices.EqualFunc(f.seen, now, unchanged)
	var value T
	if !same && err == nil {
		value, err = f.Read()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !same {
		f.seen, f.err = now, err
	}
	if !same && err == nil {
		f.value, f.good = value, true
	}
	close(f.looking)
	f.looking, f.hangs, f.looked = nil, false, began
}

// stat returns what is known of the files without opening them. To open a pipe would
// wait for its writer.
func (f *Files[T]) stat() ([]os.FileInfo, error) {
	now := make([]os.FileInfo, len(f.Paths))
	for i, path := range f.Paths {
		info, err := os.Stat(path)
		if err != nil {
			continue // who reads it says so, if it has to be there
		}
		if !info.Mode().IsRegular() {
			return now, fmt.Errorf("%s: %s is no regular file; put one in its place", f.Key, path)
		}
		now[i] = info
	}
	return now, nil
}

// unchanged reports whether nothing was written to a file, or put in its place, between
// two looks at it. A file that was not there is nil, and the same as itself.
func unchanged(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
