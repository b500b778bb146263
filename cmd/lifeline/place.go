package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-lifeline/lifeline/extension/flarerecoveryextension"
	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

const s3Scheme = "s3://"

// place is what the arguments of a command on flares name: files, or objects of
// one bucket.
type place struct {
	files  []string
	bucket string   // "" with objects: that of the configuration
	prefix string   // "": that of the configuration
	keys   []string // ids or keys; none means all below prefix
}

// parsePlace sorts arguments: s3://BUCKET/PREFIX/ and s3://BUCKET/KEY.age, flare
// ids, everything else files and folders. Files and objects do not mix.
func parsePlace(args []string) (place, error) {
	var p place
	for _, arg := range args {
		rest, isURL := strings.CutPrefix(arg, s3Scheme)
		switch {
		case isURL:
			if err := p.addURL(arg, rest); err != nil {
				return p, err
			}
		case frame.IsHex32(arg):
			p.keys = append(p.keys, arg)
		default:
			p.files = append(p.files, arg)
		}
	}
	if len(p.files) > 0 && (p.bucket != "" || len(p.keys) > 0) {
		return p, usagef("%s is a file and another argument names an object of a bucket: do one after the other", p.files[0])
	}
	return p, nil
}

func (p *place) addURL(arg, rest string) error {
	bucket, key, _ := strings.Cut(rest, "/")
	prefix := key
	if strings.HasSuffix(key, ".age") {
		p.keys = append(p.keys, key)
		prefix = path.Dir(key) + "/"
	}
	if bucket == "" || prefix != "" && !strings.HasSuffix(prefix, "/") {
		return usagef("%s: use s3://BUCKET/PREFIX/ with a slash at the end, or s3://BUCKET/PREFIX/ID.age", arg)
	}
	if p.bucket != "" && (p.bucket != bucket || p.prefix != prefix) {
		return usagef("%s lies elsewhere than s3://%s/%s: do one after the other", arg, p.bucket, p.prefix)
	}
	p.bucket, p.prefix = bucket, prefix
	return nil
}

// bucketFlags say how to reach a bucket. What is not set comes from recovery's
// configuration.
type bucketFlags struct {
	cfg    s3bucket.Config
	state  string
	config string
}

func (b *bucketFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&b.config, "config", "c", "", "recovery's configuration: its bucket, keys, trust and audience are used where no flag says otherwise")
	flags.StringVar(&b.cfg.Region, "region", "", "region of the bucket")
	flags.StringVar(&b.cfg.Endpoint, "endpoint", "", "URL of the S3 server (default AWS)")
	flags.BoolVar(&b.cfg.PathStyle, "path-style", false, "put the bucket's name into the path, not into the host name")
	flags.StringVar(&b.cfg.CredentialsFile, "credentials-file", "", "AWS shared-credentials file with recovery's key")
	flags.StringVar(&b.cfg.Profile, "profile", "", "section of the credentials file")
	flags.StringVar(&b.cfg.CAFile, "ca-file", "", "PEM file of the authorities that the server's certificate may be from")
	flags.StringVar(&b.state, "state-prefix", "", "folder of recovery's own objects in the bucket (default lifeline/)")
}

// source finds the place. conf may be nil.
func (b *bucketFlags) source(p place, conf *flarerecoveryextension.Config) (source, error) {
	if len(p.files) > 0 {
		return files{p.files}, nil
	}
	if p.bucket == "" && conf == nil {
		return nil, usagef("name flares: files, folders, s3://BUCKET/PREFIX/, or recovery's configuration with --config")
	}
	cfg, state := b.cfg, cmp.Or(b.state, "lifeline/")
	if conf != nil {
		cfg, state = b.over(conf.S3), cmp.Or(b.state, conf.StatePrefix)
	}
	cfg.Bucket, cfg.Prefix = cmp.Or(p.bucket, cfg.Bucket), cmp.Or(p.prefix, cfg.Prefix, "f/")
	if conf == nil && cfg.CredentialsFile == "" { // the other ways of a configuration are no flags
		return nil, usagef("--credentials-file is missing: name the file with recovery's credentials, or its configuration with --config")
	}
	client, err := s3bucket.New(cfg)
	if err != nil {
		return nil, &usageError{flagNames(err)}
	}
	return objects{client, cfg, cfg.Bucket, cfg.Prefix, state, p.keys}, nil
}

// over returns the configuration with the flags over it.
func (b *bucketFlags) over(cfg s3bucket.Config) s3bucket.Config {
	cfg.Region = cmp.Or(b.cfg.Region, cfg.Region)
	cfg.Endpoint = cmp.Or(b.cfg.Endpoint, cfg.Endpoint)
	cfg.PathStyle = b.cfg.PathStyle || cfg.PathStyle
	cfg.CAFile = cmp.Or(b.cfg.CAFile, cfg.CAFile)
	if b.cfg.CredentialsFile != "" {
		cfg.CredentialsFile, cfg.Profile = b.cfg.CredentialsFile, b.cfg.Profile
		cfg.AccessKeyID, cfg.SecretAccessKey, cfg.SessionToken, cfg.IMDS = "", "", "", false
	}
	return cfg
}

var configKey = regexp.MustCompile(`(?m)^(region|endpoint|credentials_file|profile|ca_file):`)

// flagNames spells the keys of a configuration as this tool's flags.
func flagNames(err error) error {
	return errors.New(configKey.ReplaceAllStringFunc(err.Error(), func(key string) string {
		return "--" + strings.ReplaceAll(key, "_", "-")
	}))
}

// loadRecovery reads recovery's configuration; of several flare_recovery
// extensions the one for the bucket.
func loadRecovery(ctx context.Context, file, bucket string) (*flarerecoveryextension.Config, error) {
	conf, err := collectorconf.Load(ctx, []string{file})
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	var found []*flarerecoveryextension.Config
	f := flarerecoveryextension.NewFactory()
	err = collectorconf.Each(conf, "extensions", f.Type(), func(_ component.ID, sub *confmap.Conf) error {
		cfg := f.CreateDefaultConfig().(*flarerecoveryextension.Config)
		if err := sub.Unmarshal(cfg); err != nil {
			return err
		}
		if bucket == "" || bucket == cfg.S3.Bucket {
			found = append(found, cfg)
		}
		return confmap.Validate(cfg)
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w; `lifeline check %s` says more", file, err, file)
	case len(found) == 0 && bucket != "":
		return nil, usagef("%s: no flare_recovery extension is for the bucket %s", file, bucket)
	case len(found) == 0:
		return nil, usagef("%s: it has no flare_recovery extension: name recovery's configuration", file)
	case len(found) > 1:
		return nil, usagef("%s: it has several flare_recovery extensions: name the bucket, as in s3://BUCKET", file)
	}
	return found[0], nil
}
