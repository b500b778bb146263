package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The modes of the files that keys are in.
const (
	modeSecret fs.FileMode = 0o600
	modePublic fs.FileMode = 0o644
)

// file is a file that is to be written.
type file struct {
	name    string
	content string
	mode    fs.FileMode
}

// writeFiles writes new files, all of them or none.
func writeFiles(all ...file) (err error) {
	var done []string
	defer func() {
		if err == nil {
			return
		}
		for _, name := range done {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	for _, f := range all {
		if err := f.create(); err != nil {
			return err
		}
		done = append(done, f.name)
	}
	return nil
}

// create writes a new file and never an old one: a key that is overwritten takes
// every flare it could open with it.
func (f file) create() error {
	out, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode) // #nosec G304 -- the operator names it
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: choose another --output, or move the old key away", f.name)
	}
	if err != nil {
		return fmt.Errorf("create the key file: %w", err)
	}
	_, err = out.WriteString(f.content)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.name, errors.Join(err, os.Remove(f.name)))
	}
	return nil
}
