package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/receipt"
)

func newKeygenReceipt() *cobra.Command {
	var output, id string
	c := &cobra.Command{
		Use:   "receipt --output FILE",
		Short: "Make a key that proves acks",
		Long: `Writes a receipt key to FILE, for receipt_key_file of gateways and agents, and
prints the key's id. It is one secret that both sides share: a gateway makes
receipts with it, and an agent believes no ack without one.

To rotate: make the new key in a file of its own and append its line to the key
files of all gateways and agents; then put it first on the gateways; then remove
the old line everywhere. The files are read again without a restart.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				return usagef("--output is missing: name the file for the key")
			}
			id, line, err := newReceiptKey(id)
			if err != nil {
				return err
			}
			if err := createFile(output, []byte(line), 0o600); err != nil {
				return err
			}
			return printLine(c.OutOrStdout(), id)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "file for the key; it must not exist")
	c.Flags().StringVar(&id, "id", "", "name of the key, not secret (default random)")
	return c
}

// newReceiptKey makes the line of a receipt key file.
func newReceiptKey(id string) (string, string, error) {
	var bytes [32 + 4]byte
	if _, err := rand.Read(bytes[:]); err != nil {
		return "", "", fmt.Errorf("make the key: %w", err)
	}
	if id == "" {
		id = "r-" + hex.EncodeToString(bytes[32:])
	}
	line := id + " " + base64.StdEncoding.EncodeToString(bytes[:32]) + "\n"
	if _, err := receipt.Parse([]byte(line)); err != nil {
		return "", "", usagef("--id %q cannot be used: use 1 to 64 letters, digits, dots, underscores and hyphens", id)
	}
	return id, line, nil
}
