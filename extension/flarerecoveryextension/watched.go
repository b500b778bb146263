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
	key    string // in the configuration
	path   string
	parse  func(io.Reader) (value T, entries int, err error)
	remedy string

	seen    os.FileInfo // the version last read
	loaded  bool        // value is in force
	value   T
	entries int
	err     error // what is wrong with the file as it is now
}

// look reads the file if it changed, and reports whether there is a new value. What
// is broken is read every time: a right to read it that was given changes nothing here.
func (w *watched[T]) look() bool {
	info, err := os.Stat(w.path)
	if err != nil {
		w.refuse(err)
		return false
	}
	if w.loaded && w.err == nil && reload.Same(info, w.seen) {
		return false
	}
	value, entries, err := w.read()
	if err == nil && w.loaded && entries*2 < w.entries {
		err = fmt.Errorf("only %d of %d entries are left: that looks like an accident; restart recovery to take it", entries, w.entries)
	}
	w.seen = info
	if err != nil {
		w.refuse(err)
		return false
	}
	w.value, w.entries, w.loaded, w.err = value, entries, true, nil
	return true
}

func (w *watched[T]) read() (value T, entries int, err error) {
	f, err := os.Open(w.path)
	if err != nil {
		return value, 0, err
	}
	defer f.Close()
	return w.parse(f)
}

func (w *watched[T]) refuse(err error) {
	kept := w.remedy
	if w.loaded {
		kept = "the version read before stays in force; " + w.remedy
	}
	w.err = fmt.Errorf("%s: %w: %s", w.key, err, kept)
}
