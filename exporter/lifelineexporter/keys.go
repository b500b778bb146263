package lifelineexporter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// newKeys returns the keys that seal flares, of files that an operator may replace at
// any time. A version that does not parse, or fails its self-test, never replaces one
// that works.
func newKeys(cfg *FlareConfig) *reload.Files[*flare.Sealer] {
	return &reload.Files[*flare.Sealer]{Key: "flare", Paths: cfg.keyFiles(), Read: cfg.readKeys}
}

// certificateSuffix is where ssh-keygen puts a key's certificate.
const certificateSuffix = "-cert.pub"

// keyFiles names the recipients, the signing key and its certificate, which need not
// be there.
func (c *FlareConfig) keyFiles() []string {
	return []string{c.RecipientsFile, c.SigningKeyFile, c.SigningKeyFile + certificateSuffix}
}

func (c *FlareConfig) readKeys() (*flare.Sealer, error) {
	if err := flare.CheckFIPS(); err != nil {
		return nil, fmt.Errorf("flare: %w", err)
	}
	paths := c.keyFiles()
	text, err := os.ReadFile(paths[0])
	if err != nil {
		return nil, fmt.Errorf("flare::recipients_file: %w; check the path and that this user may read it", err)
	}
	recipients, err := flare.ParseRecipients(bytes.NewReader(text), c.AllowSingleRecipient)
	if err != nil {
		return nil, fmt.Errorf("flare::recipients_file: %s: %w", paths[0], err)
	}
	pem, err := os.ReadFile(paths[1])
	if err != nil {
		return nil, fmt.Errorf("flare::signing_key_file: %w; check the path and that this user may read it", err)
	}
	cert, err := os.ReadFile(paths[2])
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("flare::signing_key_file: its certificate: %w; check that this user may read it, or remove it", err)
	}
	signer, err := flare.ParseSigner(pem, cert)
	if err != nil {
		return nil, fmt.Errorf("flare::signing_key_file: %s: %w", paths[1], err)
	}
	sealer := &flare.Sealer{Recipients: recipients, Signer: signer}
	if err := sealer.SelfTest(); err != nil {
		return nil, fmt.Errorf("flare: the keys do not work together: %w; check recipients_file and signing_key_file", err)
	}
	return sealer, nil
}

// Sealer returns the keys that the files of a valid FlareConfig hold now, for a
// program that makes a flare in the agent's place.
func (c *FlareConfig) Sealer() (*flare.Sealer, error) { return newKeys(c).Get() }

// AgentName returns the name of the agent: as configured, as the certificate of
// sealer says, or the host's. sealer may be nil.
func (c *Config) AgentName(sealer *flare.Sealer) string {
	if c.Agent != "" {
		return c.Agent
	}
	if sealer != nil {
		if principal, _ := flare.SignerPrincipal(sealer.Signer); frame.ValidAgent(principal) {
			return principal
		}
	}
	if name, err := os.Hostname(); err == nil && frame.ValidAgent(name) {
		return name
	}
	return "unknown"
}
