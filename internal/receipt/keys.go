package receipt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Limits of a key file.
const (
	MaxFile = 64 << 10 // bytes
	maxKeys = 16
	maxID   = 64
	size    = 32 // bytes of a secret
)

// Keys are the keys of one file: the first signs, any verifies. There is always
// at least one.
type Keys struct {
	keys []key
}

type key struct {
	id     string
	secret [size]byte
}

// Parse reads a key file: lines of a key id and the base64 of 32 bytes. Blank
// lines and lines that begin with # are skipped. To rotate, append the new key
// everywhere, then put it first on the gateways, then remove the old one. The
// errors name lines, never a secret.
func Parse(file []byte) (*Keys, error) {
	if len(file) > MaxFile {
		return nil, fmt.Errorf("longer than %d bytes: this is no key file", MaxFile)
	}
	k := &Keys{}
	number := 0
	for line := range strings.Lines(string(file)) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if err := k.add(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	if len(k.keys) == 0 {
		return nil, errors.New("no key found: make one with `lifeline keygen receipt`")
	}
	return k, nil
}

// add takes the words of one line.
func (k *Keys) add(words []string) error {
	if len(words) != 2 {
		return fmt.Errorf("%d words where a key id and a key are expected: make a line with `lifeline keygen receipt`", len(words))
	}
	id := words[0]
	if !validID(id) {
		return fmt.Errorf("the key id must be 1 to %d letters, digits, dots, underscores and hyphens", maxID)
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(words[1])
	if err != nil || len(secret) != size {
		return fmt.Errorf("the key %q is not the padded standard base64 of %d bytes", id, size)
	}
	for i := range k.keys {
		if k.keys[i].id == id {
			return fmt.Errorf("the key id %q stands twice", id)
		}
	}
	if len(k.keys) == maxKeys {
		return fmt.Errorf("more than %d keys: remove those that sign nothing any more", maxKeys)
	}
	k.keys = append(k.keys, key{id: id, secret: [size]byte(secret)})
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alphanumeric && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
