package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/flare"
)

func newKeygen() *cobra.Command {
	return group("keygen", "Make keys", newKeygenRecovery(), newKeygenAgent(), newKeygenReceipt(), newKeygenCA())
}

func newKeygenRecovery() *cobra.Command {
	var output string
	var classic bool
	c := &cobra.Command{
		Use:   "recovery --output FILE",
		Short: "Make a key pair that opens flares",
		Long: `Writes a secret age identity to FILE, for the recovery collector, and prints its
public key, for the recipients file of every agent. Make two: the second is the
break-glass key, kept offline.

The key is post-quantum (age1pq1...), which age opens from version 1.3 on; with
--classic it is X25519 (age1...), which any age opens. Do not mix the two.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				return usagef("--output is missing: name the file for the secret key")
			}
			secret, public, err := newIdentity(classic)
			if err != nil {
				return err
			}
			if err := createFile(output, []byte(identityFile(secret, public)), 0o600); err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), public)
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "file for the secret key; it must not exist")
	c.Flags().BoolVar(&classic, "classic", false, "make an X25519 key, for versions of age before 1.3")
	return c
}

// identityFile is what age-keygen would write.
func identityFile(secret, public string) string {
	return fmt.Sprintf("# created: %s\n# public key: %s\n%s\n", time.Now().UTC().Format(time.RFC3339), public, secret)
}

func newIdentity(classic bool) (secret, public string, err error) {
	if classic {
		id, err := age.GenerateX25519Identity()
		if err != nil {
			return "", "", fmt.Errorf("make the key: %w", err)
		}
		return id.String(), id.Recipient().String(), nil
	}
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		return "", "", fmt.Errorf("make the key: %w", err)
	}
	return id.String(), id.Recipient().String(), nil
}

func newKeygenAgent() *cobra.Command {
	var output, principal string
	c := &cobra.Command{
		Use:   "agent --output FILE",
		Short: "Make a key that signs an agent's flares",
		Long: `Writes an OpenSSH Ed25519 private key to FILE and its public key to FILE.pub, and
prints the line for recovery's allowed signers file. The principal in that line
is who the agent's data is from: <tenant>/<agent>.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if output == "" {
				return usagef("--output is missing: name the file for the private key")
			}
			line, err := writeAgentKey(output, principal)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), line)
			return err
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "file for the private key; neither it nor FILE.pub may exist")
	c.Flags().StringVar(&principal, "principal", "", "name of the agent, <tenant>/<agent> (default default/<host name>)")
	return c
}

// writeAgentKey makes and writes a key pair and returns its allowed signers line.
func writeAgentKey(output, principal string) (string, error) {
	if principal == "" {
		var err error
		if principal, err = defaultPrincipal(); err != nil {
			return "", err
		}
	}
	key, err := newSSHKey(principal)
	if err != nil {
		return "", err
	}
	line, err := signersLine(principal, key.public)
	if err != nil {
		return "", err
	}
	return line, key.write(output)
}

// signersLine is the line of an allowed signers file that trusts a key.
func signersLine(principal, public string) (string, error) {
	line := fmt.Sprintf("%s namespaces=%q %s\n", principal, flare.Namespace, public)
	if _, err := flare.ParseAllowedSigners(strings.NewReader(line)); err != nil {
		return "", usagef("--principal %q cannot be used: it must be one name without blanks, quotes or wildcards, as in acme/host-17", principal)
	}
	return line, nil
}

func defaultPrincipal() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("ask for the host name: %w; set --principal", err)
	}
	return "default/" + host, nil
}

// sshKey is a new Ed25519 key pair in OpenSSH's formats.
type sshKey struct {
	private []byte
	public  string // without comment
	comment string
}

func newSSHKey(comment string) (*sshKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	public := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(signer.PublicKey())), "\n")
	return &sshKey{pem.EncodeToMemory(block), public, comment}, nil
}

// write writes the pair to output and output.pub, or neither.
func (k *sshKey) write(output string) error {
	if _, err := os.Lstat(output + ".pub"); err == nil {
		return fmt.Errorf("%s.pub exists: choose another --output, or move the old key away", output)
	}
	if err := createFile(output, k.private, 0o600); err != nil {
		return err
	}
	if err := createFile(output+".pub", []byte(k.public+" "+k.comment+"\n"), 0o644); err != nil {
		return errors.Join(err, os.Remove(output))
	}
	return nil
}

// createFile writes a new file and never an old one: a key that is overwritten
// takes every flare it could open with it.
func createFile(name string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) // #nosec G304 -- the operator names it
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: choose another --output, or move the old key away", name)
	}
	if err != nil {
		return fmt.Errorf("create the key file: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, errors.Join(err, os.Remove(name)))
	}
	return nil
}
