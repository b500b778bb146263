package flare

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// checkJSON refuses JSON that two readers could understand differently: bytes
// that are no UTF-8, a key given twice in one object, and keys that are not
// lower-case printable ASCII (encoding/json matches keys without regard to
// case, so "Agent" would be a second "agent"). It also bounds the nesting, and
// how many elements and keys a list can have: 4 MiB of `{},{},` would become
// hundreds of MiB of records.
func checkJSON(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("the manifest is not UTF-8")
	}
	if !json.Valid(raw) {
		return fmt.Errorf("parse the manifest: %w", json.Unmarshal(raw, &struct{}{}))
	}
	text, w := string(raw), walk{}
	for i := 0; i < len(text); i++ {
		var err error
		switch text[i] {
		case '"':
			end := stringEnd(text, i)
			err = w.text(text[i:end])
			i = end - 1
		case '{', '[':
			err = w.open(text[i])
		case '}', ']':
			w.depth--
		case ':':
			w.top().value = true
		case ',':
			err = w.next()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stringEnd returns where the string literal ends that begins at i.
func stringEnd(text string, i int) int {
	for i++; text[i] != '"'; i++ {
		if text[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// walk is a way through valid JSON.
type walk struct {
	depth int
	lists [maxDepth]list
}

// list is an open object or array.
type list struct {
	array  bool
	commas int             // of an array
	keys   map[string]bool // of an object
	value  bool            // the next thing of an object is a value, not a key
}

// top returns the innermost list.
func (w *walk) top() *list { return &w.lists[w.depth-1] }

func (w *walk) open(bracket byte) error {
	if w.depth++; w.depth > maxDepth {
		return fmt.Errorf("the manifest is nested deeper than %d", maxDepth)
	}
	l := w.top()
	clear(l.keys)
	*l = list{array: bracket == '[', keys: l.keys}
	return nil
}

// next goes over a comma.
func (w *walk) next() error {
	l := w.top()
	l.value = false
	if !l.array {
		return nil
	}
	if l.commas++; l.commas >= MaxRecords {
		return fmt.Errorf("an array of the manifest has more than %d elements", MaxRecords)
	}
	return nil
}

// text goes over a string literal, and notes it if it is a key.
func (w *walk) text(literal string) error {
	if w.depth == 0 || w.top().array || w.top().value {
		return nil
	}
	key := literal[1 : len(literal)-1]
	if strings.Contains(key, `\`) {
		_ = json.Unmarshal([]byte(literal), &key) // it is valid
	}
	for i := range len(key) {
		if c := key[i]; c < 0x20 || c > 0x7e || c >= 'A' && c <= 'Z' {
			return fmt.Errorf("key %.40q is not lower-case ASCII", key)
		}
	}
	l := w.top()
	if l.keys[key] {
		return fmt.Errorf("key %.40q stands twice", key)
	}
	if l.keys == nil {
		l.keys = map[string]bool{}
	}
	if l.keys[key] = true; len(l.keys) > maxKeys {
		return fmt.Errorf("an object of the manifest has more than %d keys", maxKeys)
	}
	return nil
}
