package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/flare"
)

// keyFlags say what to open flares with and whom to trust.
type keyFlags struct {
	identities     string
	allowedSigners string
	revoked        string
	audience       string
	maxAge         time.Duration
}

func (k *keyFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&k.identities, "identities", "i", "", "age identity file that opens the flares")
	flags.StringVar(&k.allowedSigners, "allowed-signers", "", "who may sign flares: OpenSSH allowed_signers file")
	flags.StringVar(&k.revoked, "revoked", "", "revocation list, as recovery's revoked_file")
	flags.StringVar(&k.audience, "audience", "", "refuse flares made for another audience")
	flags.DurationVar(&k.maxAge, "max-age", defaultMaxAge, "how long before it was stored a flare in a bucket may have been made")
}

const defaultMaxAge = 336 * time.Hour

// fill takes from recovery's configuration what no flag says.
func (k *keyFlags) fill(conf *flarerecoveryextension.Config) {
	k.identities = cmp.Or(k.identities, conf.IdentitiesFile)
	k.allowedSigners = cmp.Or(k.allowedSigners, conf.AllowedSignersFile)
	k.revoked = cmp.Or(k.revoked, conf.RevokedFile)
	k.audience = cmp.Or(k.audience, conf.Audience)
	if k.maxAge == defaultMaxAge {
		k.maxAge = conf.MaxAge
	}
}

// opener reads the files. Without an identity file it returns nil, and without
// an allowed signers file an opener that trusts nobody.
func (k *keyFlags) opener() (*flare.Opener, error) {
	if k.maxAge <= 0 {
		return nil, usagef("--max-age must be positive: it is not switched off")
	}
	if k.identities == "" {
		return nil, nil
	}
	o := &flare.Opener{Audience: k.audience}
	var err error
	if o.Identities, err = parseFile("--identities", k.identities, flare.ParseIdentities); err != nil {
		return nil, err
	}
	if k.allowedSigners != "" {
		if o.Signers, err = parseFile("--allowed-signers", k.allowedSigners, flare.ParseAllowedSigners); err != nil {
			return nil, err
		}
	}
	if k.revoked != "" {
		if o.Revoked, err = parseFile("--revoked", k.revoked, flare.ParseRevoked); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func parseFile[T any](flag, name string, parse func(io.Reader) (T, error)) (T, error) {
	var none T
	f, err := os.Open(name) // #nosec G304 -- the operator names it
	if err != nil {
		return none, fmt.Errorf("%s: %w", flag, err)
	}
	defer f.Close()
	parsed, err := parse(f)
	if err != nil {
		return none, fmt.Errorf("%s: %s: %w", flag, name, err)
	}
	return parsed, nil
}
