package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/otel-lifeline/lifeline/internal/receipt"
)

func newKeygenReceipt() *cobra.Command {
	var id string
	return keygenCommand{
		use: "receipt --output FILE", short: "Make a key that proves acks",
		long: `Writes a receipt key to FILE, for receipt_key_file of gateways and agents, and
prints the key's id. It is one secret that both sides share: a gateway makes
receipts with it, and an agent believes no ack without one.

To rotate: make the new key in a file of its own and append its line to the key
files of all gateways and agents; then put it first on the gateways; then remove
the old line everywhere. The files are read again without a restart.`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&id, "id", "", "name of the key, not secret (default random)")
		},
		generate: func() (newKey, error) { return newReceiptKey(id) },
	}.build()
}

// newReceiptKey makes a key whose file is one line of a receipt key file.
func newReceiptKey(id string) (newKey, error) {
	var bytes [32 + 4]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		return newKey{}, fmt.Errorf("make the key: %w", err)
	}
	if id == "" {
		id = "r-" + hex.EncodeToString(bytes[32:])
	}
	line := id + " " + base64.StdEncoding.EncodeToString(bytes[:32]) + "\n"
	if _, err := receipt.Parse([]byte(line)); err != nil {
		return newKey{}, usagef("--id %q cannot be used: use 1 to 64 letters, digits, dots, underscores and hyphens", id)
	}
	return newKey{secret: line, made: madeKey{ID: id}}, nil
}
