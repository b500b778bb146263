package flarerecoveryextension

import (
	"fmt"
	"io"
	"os"

	"github.com/otel-lifeline/lifeline/internal/reload"
)

// watched is a file that is read again when it changed, or was not good. A version
// that cannot be taken never replaces one that was. It is not safe for concurrent use.
type watched[T any] struct {
	file *reload.Files[*version[T]]
	now  *version[T] // in force; nil: there was never one
	err  error       // what is wrong with the file as it is now
}

// version is what a file held.
type version[T any] struct {
	value   T
	entries int
}

// watchedFile is a file in the configuration.
type watchedFile[T any] struct {
	key, path string
	parse     func(io.Reader) (value T, entries int, err error)
	remedy    string // for the operator
}

func watch[T any](f watchedFile[T]) *watched[T] {
	var last *version[T]
	return &watched[T]{file: &reload.Files[*version[T]]{Key: f.key, Paths: []string{f.path}, Read: func() (*version[T], error) {
		v, err := f.read()
		kept := f.remedy
		if last != nil {
			kept = "the version read before stays in force; " + f.remedy
			if err == nil && v.entries*2 < last.entries {
				err = fmt.Errorf("only %d of %d entries are left: that looks like an accident; restart recovery to take it", v.entries, last.entries)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s", f.key, err, kept)
		}
		last = v
		return v, nil
	}}}
}

func (f watchedFile[T]) read() (*version[T], error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	value, entries, err := f.parse(file)
	return &version[T]{value, entries}, err
}

// look reads the file if it changed, and reports whether there is a new value.
func (w *watched[T]) look() bool {
	last := w.now
	w.now, w.err = w.file.State()
	return w.now != last
}
