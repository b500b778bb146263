package main

import (
	"fmt"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newKeygenRecovery() *cobra.Command {
	var classic bool
	return keygenCommand{
		use: "recovery --output FILE", short: "Make a key pair that opens flares",
		long: `Writes a secret age identity to FILE, for the recovery collector, and prints its
public key, for the recipients file of every agent. Make two: the second is the
break-glass key, kept offline.

The key is post-quantum (age1pq1...), which age opens from version 1.3 on; with
--classic it is X25519 (age1...), which any age opens. Do not mix the two.`,
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&classic, "classic", false, "make an X25519 key, for versions of age before 1.3")
		},
		generate: func() (newKey, error) { return newIdentity(classic) },
	}.build()
}

// newIdentity makes a key that opens flares; its file is what age-keygen would write.
func newIdentity(classic bool) (newKey, error) {
	secret, public, err := ageKey(classic)
	if err != nil {
		return newKey{}, fmt.Errorf("make the key: %w", err)
	}
	file := fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", time.Now().UTC().Format(time.RFC3339), public, secret)
	return newKey{secret: file, made: madeKey{Recipient: public}}, nil
}

func ageKey(classic bool) (secret, public string, err error) {
	if classic {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return "", "", err
		}
		return id.String(), id.Recipient().String(), nil
	}
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return "", "", err
	}
	return id.String(), id.Recipient().String(), nil
}
