package flare

import (
	"bytes"
	"errors"
	"fmt"
)

// checkAgeHeader bounds what age will be asked to do: a header of 1024 foreign
// recipients, which age allows, costs a fifth of a second per identity. Only
// native recipients pass, so nothing but their code runs on unknown bytes.
func checkAgeHeader(data []byte) error {
	header := data[:min(len(data), maxAgeHeader)]
	rest, ok := bytes.CutPrefix(header, []byte("age-encryption.org/v1\n"))
	if !ok {
		return errors.New("not an age file (armored ones are not flares)")
	}
	stanzas := 0
	for {
		line, behind, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return fmt.Errorf("the age header does not end within %d bytes", maxAgeHeader)
		}
		rest = behind
		switch {
		case bytes.HasPrefix(line, []byte("---")):
			return nil
		case bytes.HasPrefix(line, []byte("-> X25519 ")), bytes.HasPrefix(line, []byte("-> mlkem768x25519 ")):
			if stanzas++; stanzas > maxStanzas {
				return fmt.Errorf("more than %d recipients", maxStanzas)
			}
		case bytes.HasPrefix(line, []byte("->")):
			return errors.New("a recipient of a kind that flares do not have")
		}
	}
}
