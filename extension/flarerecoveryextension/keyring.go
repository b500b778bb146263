package flarerecoveryextension

import (
	"errors"
	"io"

	"filippo.io/age"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/recovery"
)

// keyring holds the key files of recovery and follows their changes. It is not
// safe for concurrent use: the loop alone asks it.
type keyring struct {
	cfg        *Config
	identities *watched[[]age.Identity]
	signers    *watched[*flare.Signers]
	revoked    *watched[*flare.Revoked] // nil: no such file
	keys       *recovery.Keys           // nil until every file was read once
}

func newKeyring(cfg *Config) *keyring {
	k := &keyring{
		cfg: cfg,
		identities: watch(watchedFile[[]age.Identity]{
			key: "identities_file", path: cfg.IdentitiesFile, parse: parseIdentities,
			remedy: "put an identity there that `lifeline keygen recovery` made",
		}),
		signers: watch(watchedFile[*flare.Signers]{
			key: "allowed_signers_file", path: cfg.AllowedSignersFile, parse: parseSigners,
			remedy: "put there the lines that `lifeline keygen agent` prints",
		}),
	}
	if cfg.RevokedFile != "" {
		k.revoked = watch(watchedFile[*flare.Revoked]{
			key: "revoked_file", path: cfg.RevokedFile, parse: parseRevoked,
			remedy: "lines are SHA256:<fingerprint>, serial:<n> SHA256:<CA> or principal:<name>; leave the key out if nothing is revoked",
		})
	}
	return k
}

// current returns the keys in force, nil if a file was never readable: without
// the list of revocations nobody can be trusted either.
func (k *keyring) current() *recovery.Keys {
	changed := k.identities.look()
	changed = k.signers.look() || changed
	complete := k.identities.now != nil && k.signers.now != nil
	if k.revoked != nil {
		changed = k.revoked.look() || changed
		complete = complete && k.revoked.now != nil
	}
	if !complete || !changed {
		return k.keys
	}
	identities, signers := k.identities.now.value, k.signers.now.value
	opener := &flare.Opener{Identities: identities, Signers: signers, Audience: k.cfg.Audience, MaxAge: k.cfg.MaxAge}
	if k.revoked != nil {
		opener.Revoked = k.revoked.now.value
	}
	k.keys = &recovery.Keys{Opener: opener, Identities: identities, Enrolled: opener.Enrolled()}
	k.keys.Recipients, k.keys.Names = recovery.RecipientsOf(identities)
	return k.keys
}

// problem returns what is wrong with the files as they are now; nil if nothing is.
func (k *keyring) problem() error {
	err := errors.Join(k.identities.err, k.signers.err)
	if k.revoked != nil {
		err = errors.Join(err, k.revoked.err)
	}
	return err
}

func parseIdentities(r io.Reader) ([]age.Identity, int, error) {
	list, err := flare.ParseIdentities(r)
	return list, len(list), err
}

func parseSigners(r io.Reader) (*flare.Signers, int, error) {
	s, err := flare.ParseAllowedSigners(r)
	if err == nil && s.Len() == 0 {
		err = errors.New("the file is empty: nobody would be believed")
	}
	return s, s.Len(), err
}

func parseRevoked(r io.Reader) (*flare.Revoked, int, error) {
	s, err := flare.ParseRevoked(r)
	return s, s.Len(), err
}
