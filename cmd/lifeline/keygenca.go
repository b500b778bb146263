package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newKeygenCA() *cobra.Command {
	var principals string
	return keygenCommand{
		use: "ca --output FILE --principals 'TENANT/*'", short: "Make an authority that certifies agents' keys",
		long: `Writes an OpenSSH Ed25519 private key to FILE and its public key to FILE.pub, and
prints the line for recovery's allowed signers file. Whoever holds FILE decides
who is an agent of these principals, so keep it where hosts are made, not on them.

For every host, certify the key that ` + "`lifeline keygen agent`" + ` made on it:

  ssh-keygen -s FILE -I host-17 -n acme/host-17 -z SERIAL -V -5m:+90d agent_ed25519.pub

and put agent_ed25519-cert.pub beside the key. Each certificate is for exactly
one principal; by a serial number of its own it can be revoked. Recovery needs no
change when hosts come and go.`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&principals, "principals", "", "whose keys it may certify: names or patterns, separated by commas, as in 'acme/*'")
		},
		generate: func() (newKey, error) { return newAuthority(principals) },
	}.build()
}

func newAuthority(principals string) (newKey, error) {
	if principals == "" {
		return newKey{}, usagef("--principals is missing: say whom the authority may certify, as in 'acme/*'")
	}
	key, err := newSigningKey("ca of "+principals, principals, "cert-authority,")
	if err == nil && !key.believable() {
		err = usagef("--principals %q cannot be used: it must be names or patterns without blanks and quotes, separated by commas, as in 'acme/*'", principals)
	}
	return key, err
}
