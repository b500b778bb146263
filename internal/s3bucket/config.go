package s3bucket

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"go.opentelemetry.io/collector/config/configopaque"
)

// Config names a bucket and the credentials for it. The same keys serve agents
// and recovery.
type Config struct {
	Bucket string `mapstructure:"bucket"`
	Prefix string `mapstructure:"prefix"` // of the flares; ends with a slash
	Region string `mapstructure:"region"` // default us-east-1 if endpoint is set

	// Credentials: a file in AWS's shared-credentials format, or a key pair, or
	// the instance metadata service. With role_arn they are used only to assume
	// that role.

	CredentialsFile string              `mapstructure:"credentials_file"` // read again when it changes
	Profile         string              `mapstructure:"profile"`          // section of that file, default "default"
	AccessKeyID     string              `mapstructure:"access_key_id"`
	SecretAccessKey configopaque.String `mapstructure:"secret_access_key"`
	SessionToken    configopaque.String `mapstructure:"session_token"`
	RoleARN         string              `mapstructure:"role_arn"`
	IMDS            bool                `mapstructure:"imds"`

	Endpoint            string `mapstructure:"endpoint"`              // http(s) URL; default AWS
	PathStyle           bool   `mapstructure:"path_style"`            // keeps the bucket's name out of DNS and TLS
	ExpectedBucketOwner string `mapstructure:"expected_bucket_owner"` // AWS account id
	ProxyURL            string `mapstructure:"proxy_url"`             // default: the environment's proxy
	CAFile              string `mapstructure:"ca_file"`               // PEM; default: the system's roots; read again when it changes
}

var (
	bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixForm = regexp.MustCompile(`^([A-Za-z0-9._-]+/)+$`)
	ownerForm  = regexp.MustCompile(`^[0-9]{12}$`)
	regionForm = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
)

// Validate finds what is wrong without network and without reading a file. It
// reports every fault, each with its key and the remedy.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(wrong bool, text string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	refuse(c.Bucket == "", "bucket: missing; name the bucket for flares")
	refuse(c.Bucket != "" && !bucketForm.MatchString(c.Bucket), "bucket: %q is not the name of a bucket; use 3 to 63 lower-case letters, digits, dots and hyphens", c.Bucket)
	refuse(c.Prefix == "", "prefix: missing; set it to the folder of the flares, for example f/")
	refuse(c.Prefix != "" && !prefixForm.MatchString(c.Prefix), "prefix: %q must not begin with a slash, must end with one and holds only letters, digits, dots, underscores and hyphens; for example f/", c.Prefix)
	refuse(c.Region == "" && c.Endpoint == "", "region: missing; set it to the bucket's region, for example eu-west-1")
	refuse(c.Region != "" && !regionForm.MatchString(c.Region), "region: %q is not a region; it looks like eu-west-1", c.Region)
	refuse(c.ExpectedBucketOwner != "" && !ownerForm.MatchString(c.ExpectedBucketOwner), "expected_bucket_owner: %q is not an AWS account id; it has 12 digits", c.ExpectedBucketOwner)
	errs = append(errs, validateURL("endpoint", c.Endpoint, "http", "https"), validateURL("proxy_url", c.ProxyURL, "http", "https", "socks5"), c.validateCredentials())
	return errors.Join(errs...)
}

// CheckFiles says what is wrong with the files that a valid Config names. It uses
// no network.
func (c *Config) CheckFiles() error {
	client, err := New(*c)
	if err != nil {
		return err
	}
	defer client.Close()
	err = client.http.check()
	if file := client.creds.file; file != nil {
		err = errors.Join(err, file.Check())
	}
	return err
}

func (c *Config) validateCredentials() error {
	pair := c.AccessKeyID != "" || c.SecretAccessKey != ""
	switch {
	case c.CredentialsFile != "" && pair:
		return errors.New("credentials_file: set together with access_key_id or secret_access_key; keep one of the two ways")
	case c.IMDS && (pair || c.CredentialsFile != ""):
		return errors.New("imds: set together with other credentials; keep one of the two")
	case pair && c.SecretAccessKey == "":
		return errors.New("secret_access_key: missing; access_key_id needs it")
	case pair && c.AccessKeyID == "":
		return errors.New("access_key_id: missing; secret_access_key needs it")
	case !pair && c.CredentialsFile == "" && !c.IMDS:
		return errors.New("credentials_file: missing; set it, or access_key_id and secret_access_key, or imds: true")
	case c.SessionToken != "" && !pair:
		return errors.New("session_token: set without access_key_id; a token belongs to a key pair")
	case c.Profile != "" && c.CredentialsFile == "":
		return errors.New("profile: set without credentials_file; it names a section of that file")
	case c.RoleARN != "" && !strings.HasPrefix(c.RoleARN, "arn:"):
		return fmt.Errorf("role_arn: %q is not the ARN of a role; it looks like arn:aws:iam::123456789012:role/name", c.RoleARN)
	}
	return nil
}

// validateURL accepts "" and base URLs with one of schemes. It never repeats
// the value: a URL may hold a password.
func validateURL(key, value string, schemes ...string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" || !strings.Contains(" "+strings.Join(schemes, " ")+" ", " "+u.Scheme+" ") {
		return fmt.Errorf("%s: not a URL; it begins with %s:// and names a host", key, strings.Join(schemes, ":// or "))
	}
	if u.RawQuery != "" || u.Fragment != "" || (key == "endpoint" && u.User != nil) {
		return fmt.Errorf("%s: give scheme, host, port and path only", key)
	}
	return nil
}

func (c *Config) region() string { return cmp.Or(c.Region, "us-east-1") }
