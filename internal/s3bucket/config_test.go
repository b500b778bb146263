package s3bucket

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidate(t *testing.T) {
	file := func(change func(*Config)) Config {
		c := Config{Bucket: "flares", Prefix: "f/", Region: "eu-west-1"}
		c.CredentialsFile = "/etc/lifeline/s3"
		change(&c)
		return c
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // "" for valid
	}{
		{"a file", func(*Config) {}, ""},
		{"a file and its profile", func(c *Config) { c.Profile = "flares" }, ""},
		{"a key pair", func(c *Config) { c.CredentialsFile, c.AccessKeyID, c.SecretAccessKey = "", "a", "b" }, ""},
		{"a session", func(c *Config) {
			c.CredentialsFile, c.AccessKeyID, c.SecretAccessKey, c.SessionToken = "", "a", "b", "c"
		}, ""},
		{"imds", func(c *Config) { c.CredentialsFile, c.IMDS = "", true }, ""},
		{"a role by a file", func(c *Config) { c.RoleARN = "arn:aws:iam::123456789012:role/x" }, ""},
		{"an endpoint needs no region", func(c *Config) { c.Region, c.Endpoint = "", "http://127.0.0.1:9000" }, ""},
		{"an endpoint with a path", func(c *Config) { c.Endpoint = "https://gw.example.com/s3/" }, ""},
		{"a deep prefix", func(c *Config) { c.Prefix = "acme/f-1/" }, ""},
		{"a proxy with a password", func(c *Config) { c.ProxyURL = "http://u:p@proxy:3128" }, ""},

		{"no bucket", func(c *Config) { c.Bucket = "" }, "bucket: missing; name the bucket"},
		{"bad bucket", func(c *Config) { c.Bucket = "Acme_Flares" }, "bucket: \"Acme_Flares\" is not"},
		{"no prefix", func(c *Config) { c.Prefix = "" }, "prefix: missing; set it to"},
		{"prefix without its slash", func(c *Config) { c.Prefix = "f" }, "prefix: \"f\" must not begin with a slash, must end with one"},
		{"prefix with a slash before", func(c *Config) { c.Prefix = "/f/" }, "prefix: \"/f/\" must not begin"},
		{"prefix of a slash", func(c *Config) { c.Prefix = "/" }, "prefix: \"/\" must not begin"},
		{"prefix with an empty folder", func(c *Config) { c.Prefix = "f//g/" }, "prefix: \"f//g/\""},
		{"prefix with blanks", func(c *Config) { c.Prefix = "my flares/" }, "prefix: "},
		{"no region", func(c *Config) { c.Region = "" }, "region: missing; set it to"},
		{"bad region", func(c *Config) { c.Region = "evil.example.com/" }, "region: "},
		{"endpoint without a scheme", func(c *Config) { c.Endpoint = "s3.example.com:9000" }, "endpoint: not a URL; it begins with http:// or https://"},
		{"endpoint of another kind", func(c *Config) { c.Endpoint = "s3://flares" }, "endpoint: not a URL"},
		{"endpoint with a query", func(c *Config) { c.Endpoint = "https://x/?a=b" }, "endpoint: give scheme"},
		{"endpoint with a password", func(c *Config) { c.Endpoint = "https://u:p@x" }, "endpoint: give scheme"},
		{"bad proxy", func(c *Config) { c.ProxyURL = "proxy:3128" }, "proxy_url: not a URL"},
		{"bad owner", func(c *Config) { c.ExpectedBucketOwner = "acme" }, "expected_bucket_owner: \"acme\" is not an AWS account id"},
		{"no credentials", func(c *Config) { c.CredentialsFile = "" }, "credentials_file: missing; set it, or access_key_id"},
		{"file and pair", func(c *Config) { c.AccessKeyID, c.SecretAccessKey = "a", "b" }, "credentials_file: set together with"},
		{"file and half a pair", func(c *Config) { c.AccessKeyID = "a" }, "credentials_file: set together with"},
		{"file and imds", func(c *Config) { c.IMDS = true }, "imds: set together with"},
		{"no secret", func(c *Config) { c.CredentialsFile, c.AccessKeyID = "", "a" }, "secret_access_key: missing"},
		{"no key id", func(c *Config) { c.CredentialsFile, c.SecretAccessKey = "", "b" }, "access_key_id: missing"},
		{"token alone", func(c *Config) { c.SessionToken = "c" }, "session_token: set without"},
		{"profile alone", func(c *Config) { c.CredentialsFile, c.IMDS, c.Profile = "", true, "p" }, "profile: set without"},
		{"bad role", func(c *Config) { c.RoleARN = "flares" }, "role_arn: \"flares\" is not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := file(c.change)
			err := cfg.Validate()
			_, newErr := New(cfg)
			require.Equal(t, err, newErr)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestValidateReportsEverythingAndNoSecret(t *testing.T) {
	cfg := Config{AccessKeyID: "a", SecretAccessKey: "hush", CredentialsFile: "f"}
	cfg.ProxyURL = "ftp://u:hush@x"
	err := cfg.Validate()
	for _, key := range []string{"bucket:", "prefix:", "region:", "proxy_url:", "credentials_file:"} {
		require.ErrorContains(t, err, key)
	}
	require.NotContains(t, err.Error(), "hush")
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		bucket, region, endpoint string
		pathStyle                bool
		want                     string
	}{
		{"flares", "eu-west-1", "", false, "https://flares.s3.eu-west-1.amazonaws.com/f/k"},
		{"flares", "eu-west-1", "", true, "https://s3.eu-west-1.amazonaws.com/flares/f/k"},
		{"a.b", "eu-west-1", "", false, "https://s3.eu-west-1.amazonaws.com/a.b/f/k"},
		{"flares", "cn-north-1", "", false, "https://flares.s3.cn-north-1.amazonaws.com.cn/f/k"},
		{"flares", "", "http://127.0.0.1:9000", false, "http://127.0.0.1:9000/flares/f/k"},
		{"flares", "", "http://[::1]:9000/", false, "http://[::1]:9000/flares/f/k"},
		{"flares", "", "https://s3.acme.net", false, "https://flares.s3.acme.net/f/k"},
		{"flares", "", "https://gw.acme.net/s3/", true, "https://gw.acme.net/s3/flares/f/k"},
	} {
		cfg := Config{Bucket: c.bucket, Prefix: "f/", Region: c.region, Endpoint: c.endpoint, PathStyle: c.pathStyle, IMDS: true}
		require.Equal(t, c.want, open(t, cfg).object("f/k", nil).String())
	}
}

func TestEscape(t *testing.T) {
	require.Equal(t, "/f/az-._~09", escape("/f/az-._~09"))
	require.Equal(t, "/a%20b%2Bc%3D%C3%A4%25%00//", escape("/a b+c=ä%\x00//"))
	u := open(t, config("http://127.0.0.1:1")).object("a b/ä%", nil)
	require.Equal(t, "http://127.0.0.1:1/flares/a%20b/%C3%A4%25", u.String())
}
