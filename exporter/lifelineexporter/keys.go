package lifelineexporter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// keyring holds the keys that seal flares, read from files that an operator may
// replace at any time. A version that does not parse, or fails its self-test,
// never replaces one that works: it is reported, and the old keys stay in force.
// Safe for concurrent use.
type keyring struct {
	cfg *FlareConfig

	mu sync.Mutex
	// mu guards the following.
	seen   [3]os.FileInfo // recipients, signing key, certificate; nil: not there
	err    error          // what is wrong with the files as they are now
	sealer *flare.Sealer  // of the last good version; nil: there was none
}

// certificateSuffix is where ssh-keygen puts a key's certificate.
const certificateSuffix = "-cert.pub"

// Sealer returns the keys in force, or what is wrong with the files if there
// never were good ones.
func (k *keyring) Sealer() (*flare.Sealer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.load()
	if k.sealer != nil {
		return k.sealer, nil
	}
	return nil, k.err
}

// check returns what is wrong with the files as they are now.
func (k *keyring) check() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.load()
	return k.err
}

// load reads the files again if one of them changed, or did not work: a right to read
// them that was given changes nothing that shows here. The caller holds mu.
func (k *keyring) load() {
	var now [3]os.FileInfo
	same := k.sealer != nil && k.err == nil
	for i, path := range k.paths() {
		info, err := os.Stat(path)
		if err == nil {
			now[i] = info
		}
		same = same && reload.Same(k.seen[i], now[i])
	}
	if same {
		return
	}
	k.seen = now
	sealer, err := k.parse()
	if k.err = err; err == nil {
		k.sealer = sealer
	}
}

func (k *keyring) paths() [3]string {
	return [3]string{k.cfg.RecipientsFile, k.cfg.SigningKeyFile, k.cfg.SigningKeyFile + certificateSuffix}
}

func (k *keyring) parse() (*flare.Sealer, error) {
	if err := flare.CheckFIPS(); err != nil {
		return nil, fmt.Errorf("flare: %w", err)
	}
	paths := k.paths()
	text, err := os.ReadFile(paths[0])
	if err != nil {
		return nil, fmt.Errorf("flare::recipients_file: %w; check the path and that this user may read it", err)
	}
	recipients, err := flare.ParseRecipients(bytes.NewReader(text), k.cfg.AllowSingleRecipient)
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
func (c *FlareConfig) Sealer() (*flare.Sealer, error) { return (&keyring{cfg: c}).Sealer() }

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
