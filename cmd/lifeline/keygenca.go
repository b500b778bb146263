package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

func newKeygenCA() *cobra.Command {
	var output, principals string
	c := &cobra.Command{
		Use:   "ca --output FILE --principals 'TENANT/*'",
		Short: "Make an authority that certifies agents' keys",
		Long: `Writes an OpenSSH Ed25519 private key to FILE and its public key to FILE.pub, and
prints the line for recovery's allowed signers file. Whoever holds FILE decides
who is an agent of these principals, so keep it where hosts are made, not on them.

For every host, certify the key that ` + "`lifeline keygen agent`" + ` made on it:

  ssh-keygen -s FILE -I host-17 -n acme/host-17 -z SERIAL -V -5m:+90d agent_ed25519.pub

and put agent_ed25519-cert.pub beside the key. Each certificate is for exactly
one principal; by a serial number of its own it can be revoked. Recovery needs no
change when hosts come and go.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				return usagef("--output is missing: name the file for the private key")
			}
			if principals == "" {
				return usagef("--principals is missing: say whom the authority may certify, as in 'acme/*'")
			}
			key, err := newSSHKey("ca of " + principals)
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s cert-authority,namespaces=%q %s\n", principals, flare.Namespace, key.public)
			if _, err := flare.ParseAllowedSigners(strings.NewReader(line)); err != nil {
				return usagef("--principals %q cannot be used: it must be names or patterns without blanks and quotes, separated by commas, as in 'acme/*'", principals)
			}
			if err := key.write(output); err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), line)
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "file for the private key; neither it nor FILE.pub may exist")
	c.Flags().StringVar(&principals, "principals", "", "whose keys it may certify: names or patterns, separated by commas, as in 'acme/*'")
	return c
}
