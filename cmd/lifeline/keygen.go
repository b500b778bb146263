package main

import (
	"cmp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newKeygen() *cobra.Command {
	return group("keygen", "Make keys", newKeygenRecovery(), newKeygenAgent(), newKeygenReceipt(), newKeygenCA())
}

// newKey is a key in memory.
type newKey struct {
	secret string // content of the file that --output names
	public string // content of that name with .pub behind it; "" for none
	made   madeKey
}

// madeKey says what was made: the JSON of --json. One of Recipient,
// AllowedSigners and ID is set, and printed without --json.
type madeKey struct {
	File           string `json:"file"`
	PublicFile     string `json:"public_file,omitempty"`
	Recipient      string `json:"recipient,omitempty"`       // line for recipients files
	AllowedSigners string `json:"allowed_signers,omitempty"` // line for allowed signers files
	ID             string `json:"id,omitempty"`              // of a receipt key
}

// keygenCommand makes one kind of key.
type keygenCommand struct {
	use, short, long string
	flags            func(*pflag.FlagSet)
	generate         func() (newKey, error)
}

func (k keygenCommand) build() *cobra.Command {
	var output string
	var asJSON bool
	c := &cobra.Command{
		Use: k.use, Short: k.short, Long: k.long,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				return usagef("--output is missing: name the file for the secret key")
			}
			key, err := k.generate()
			if err != nil {
				return err
			}
			if err := key.write(output); err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), key.made)
			}
			return printLine(c.OutOrStdout(), cmp.Or(key.made.Recipient, key.made.AllowedSigners, key.made.ID))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "file for the secret key; nothing is overwritten")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	k.flags(c.Flags())
	return c
}

// write writes the key's files, or none of them.
func (k *newKey) write(output string) error {
	k.made.File = output
	files := []file{{output, k.secret, modeSecret}}
	if k.public != "" {
		k.made.PublicFile = output + ".pub"
		files = append(files, file{k.made.PublicFile, k.public, modePublic})
	}
	return writeFiles(files...)
}
