package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// journal is what a replay remembers between two starts: a text file of lines,
// each a flare id and either a record of it that was acked or the word done. It
// only grows.
type journal struct {
	file  *os.File
	flare map[string]*entry
}

type entry struct {
	done   bool
	acked  []string
	listed map[string]bool
}

const journalDone = "done"

// openJournal opens or makes the file. Its last line may be cut off: the crash
// that did it lost an ack, and the record is sent again.
func openJournal(name string) (*journal, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600) // #nosec G304 -- the operator names it
	if err != nil {
		return nil, fmt.Errorf("--state: %w; name a file that can be written", err)
	}
	j := &journal{file: f, flare: map[string]*entry{}}
	if err := j.read(name); err != nil {
		return nil, errors.Join(fmt.Errorf("--state: %w", err), f.Close())
	}
	return j, nil
}

func (j *journal) read(name string) error {
	text, err := os.ReadFile(name) // #nosec G304 -- the operator names it
	if err != nil {
		return err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	for line := range strings.Lines(string(whole)) {
		id, what, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !frame.IsHex32(id) || what == "" {
			return fmt.Errorf("%s is no state of a replay: name another file", name)
		}
		j.add(id, what)
	}
	if len(whole) == 0 && len(text) > 0 {
		return fmt.Errorf("%s is no state of a replay: name another file", name)
	}
	return j.file.Truncate(int64(len(whole)))
}

func (j *journal) add(id, what string) {
	e := j.flare[id]
	if e == nil {
		e = &entry{listed: map[string]bool{}}
		j.flare[id] = e
	}
	if what == journalDone {
		e.done = true
	} else if !e.listed[what] {
		e.listed[what] = true
		e.acked = append(e.acked, what)
	}
}

func (j *journal) done(id string) bool { return j.flare[id] != nil && j.flare[id].done }

// acked returns the records of a flare that need not be sent again.
func (j *journal) acked(id string) []string {
	if e := j.flare[id]; e != nil {
		return e.acked
	}
	return nil
}

// note writes down the acked records of a flare, those that are new, and that
// these are all.
func (j *journal) note(id string, acked []string, done bool) error {
	var lines strings.Builder
	for _, what := range acked {
		if e := j.flare[id]; e == nil || !e.listed[what] {
			fmt.Fprintf(&lines, "%s %s\n", id, what)
			j.add(id, what)
		}
	}
	if done && !j.done(id) {
		fmt.Fprintf(&lines, "%s %s\n", id, journalDone)
		j.add(id, journalDone)
	}
	if lines.Len() == 0 {
		return nil
	}
	_, err := j.file.WriteString(lines.String())
	if err = errors.Join(err, j.file.Sync()); err != nil {
		return fmt.Errorf("--state: %w; what was acked now would be sent again by the next start", err)
	}
	return nil
}

// Close closes the file.
func (j *journal) Close() error { return j.file.Close() }
