package flare

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var stack []*object
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("parse the manifest: %w", err)
		}
		if stack, err = step(stack, tok); err != nil {
			return err
		}
	}
}

// object is one open object or array. keys is nil for an array.
type object struct {
	keys     map[string]bool
	value    bool // the next token is a value, not a key
	elements int  // of an array
}

func step(stack []*object, tok json.Token) ([]*object, error) {
	var top *object
	if len(stack) > 0 {
		top = stack[len(stack)-1]
	}
	if tok == json.Delim('}') || tok == json.Delim(']') {
		return stack[:len(stack)-1], nil
	}
	switch {
	case top == nil:
	case top.keys == nil:
		if top.elements++; top.elements > MaxRecords {
			return nil, fmt.Errorf("an array of the manifest has more than %d elements", MaxRecords)
		}
	case !top.value:
		top.value = true
		return stack, top.add(tok)
	default:
		top.value = false
	}
	switch tok {
	case json.Delim('{'):
		stack = append(stack, &object{keys: map[string]bool{}})
	case json.Delim('['):
		stack = append(stack, &object{})
	}
	if len(stack) > maxDepth {
		return nil, fmt.Errorf("the manifest is nested deeper than %d", maxDepth)
	}
	return stack, nil
}

func (o *object) add(tok json.Token) error {
	key, _ := tok.(string) // the decoder lets nothing else stand here
	for i := range len(key) {
		if c := key[i]; c < 0x20 || c > 0x7e || c >= 'A' && c <= 'Z' {
			return fmt.Errorf("key %.40q is not lower-case ASCII", key)
		}
	}
	if o.keys[key] {
		return fmt.Errorf("key %.40q stands twice", key)
	}
	if o.keys[key] = true; len(o.keys) > maxKeys {
		return fmt.Errorf("an object of the manifest has more than %d keys", maxKeys)
	}
	return nil
}
