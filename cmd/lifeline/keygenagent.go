package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

func newKeygenAgent() *cobra.Command {
	var principal string
	return keygenCommand{
		use: "agent --output FILE", short: "Make a key that signs an agent's flares",
		long: `Writes an OpenSSH Ed25519 private key to FILE and its public key to FILE.pub, and
prints the line for recovery's allowed signers file. The principal in that line
is who the agent's data is from: <tenant>/<agent>.`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&principal, "principal", "", "name of the agent, <tenant>/<agent> (default default/<host name>)")
		},
		generate: func() (newKey, error) {
			if principal == "" {
				var err error
				if principal, err = defaultPrincipal(); err != nil {
					return newKey{}, err
				}
			}
			return newAgentKey(principal)
		},
	}.build()
}

func defaultPrincipal() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("ask for the host name: %w; set --principal", err)
	}
	return "default/" + host, nil
}

func newAgentKey(principal string) (newKey, error) {
	key, err := newSigningKey(principal, principal, "")
	if err == nil && !key.believable() {
		err = usagef("--principal %q cannot be used: it must be one name without blanks, quotes or wildcards, as in acme/host-17", principal)
	}
	return key, err
}

// newSigningKey makes an Ed25519 key pair in OpenSSH's formats, and the line that
// trusts it with these principals; options stand in front of the namespace.
func newSigningKey(comment, principals, options string) (newKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return newKey{}, fmt.Errorf("make the key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return newKey{}, fmt.Errorf("encode the key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return newKey{}, fmt.Errorf("encode the key: %w", err)
	}
	public := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(signer.PublicKey())), "\n")
	return newKey{
		secret: string(pem.EncodeToMemory(block)),
		public: public + " " + comment + "\n",
		made:   madeKey{AllowedSigners: fmt.Sprintf("%s %snamespaces=%q %s", principals, options, flare.Namespace, public)},
	}, nil
}

// believable reports whether an allowed signers file can hold the key's line.
func (k *newKey) believable() bool {
	_, err := flare.ParseAllowedSigners(strings.NewReader(k.made.AllowedSigners + "\n"))
	return err == nil
}
