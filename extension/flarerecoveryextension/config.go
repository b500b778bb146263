package flarerecoveryextension

import (
	"context"
	"errors"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// Config is the configuration of flare_recovery. The README explains every key.
type Config struct {
	// S3 names the bucket and the prefix agents write to, with recovery's own
	// credential.
	S3 s3bucket.Config `mapstructure:"s3"`
	// StatePrefix holds recovery's own objects. Agents must not be able to write
	// there, so it lies neither under S3.Prefix nor above it.
	StatePrefix string `mapstructure:"state_prefix"`

	IdentitiesFile     string `mapstructure:"identities_file"`      // age identities
	AllowedSignersFile string `mapstructure:"allowed_signers_file"` // OpenSSH allowed_signers
	RevokedFile        string `mapstructure:"revoked_file"`         // optional
	Audience           string `mapstructure:"audience"`             // empty: any

	Forward      ForwardConfig    `mapstructure:"forward"`
	PollInterval time.Duration    `mapstructure:"poll_interval"`
	MaxAge       time.Duration    `mapstructure:"max_age"`
	Quarantine   QuarantineConfig `mapstructure:"quarantine"`
	MaxRate      bytesize.Size    `mapstructure:"max_rate"` // stored bytes per second
	Lease        bool             `mapstructure:"lease"`    // several replicas share the work
}

// ForwardConfig says where recovered records go: to the gateway's listener with
// trust_flare_headers, or to any other OTLP server. HTTP or GRPC, exactly one.
type ForwardConfig struct {
	HTTP configoptional.Optional[confighttp.ClientConfig] `mapstructure:"http"`
	GRPC configoptional.Optional[configgrpc.ClientConfig] `mapstructure:"grpc"`

	Compression    string        `mapstructure:"compression"`      // on the wire; stored it is always zstd
	ReceiptKeyFile string        `mapstructure:"receipt_key_file"` // set: an ack must carry a receipt
	Timeout        time.Duration `mapstructure:"timeout"`          // of one attempt
	// TenantHeader carries the tenant of the principal that signed; "" sends none.
	TenantHeader string `mapstructure:"tenant_header"`
}

// Server says how to reach the target.
func (c *ForwardConfig) Server() otlpclient.Config {
	return otlpclient.Config{
		HTTP: c.HTTP.Get(), GRPC: c.GRPC.Get(), Senders: senders,
		Compression: c.Compression, ReceiptKeyFile: c.ReceiptKeyFile,
	}
}

// QuarantineConfig bounds quarantine.
type QuarantineConfig struct {
	// MaxBytes is the most that quarantine may hold. Above it bad flares stay
	// where they are.
	MaxBytes bytesize.Size `mapstructure:"max_bytes"`
}

func createDefaultConfig() component.Config {
	return &Config{
		StatePrefix: "lifeline/",
		Forward: ForwardConfig{
			HTTP:        configoptional.Default(otlpclient.DefaultHTTP()),
			GRPC:        configoptional.Default(otlpclient.DefaultGRPC()),
			Compression: string(otlpsend.Zstd),
			Timeout:     30 * time.Second,
		},
		PollInterval: 30 * time.Second,
		MaxAge:       336 * time.Hour,
		Quarantine:   QuarantineConfig{MaxBytes: 10 * bytesize.GiB},
		MaxRate:      32 * bytesize.MiB,
		Lease:        true,
	}
}

// What recovery does at the same time.
const (
	visits  = 8 // flares
	senders = 8 // records on their way to the gateway
)

var prefixForm = regexp.MustCompile(`^([A-Za-z0-9._-]+/)+$`)

// Validate finds what is wrong without network and without reading a file.
func (c *Config) Validate() error {
	var errs []error
	refuse := func(wrong bool, text string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	refuse(!prefixForm.MatchString(c.StatePrefix), "state_prefix: %q must not begin with a slash, must end with one and holds only letters, digits, dots, underscores and hyphens; for example lifeline/", c.StatePrefix)
	refuse(strings.HasPrefix(c.StatePrefix, c.S3.Prefix) || strings.HasPrefix(c.S3.Prefix, c.StatePrefix),
		"state_prefix: %q and s3::prefix %q lie in each other: a stolen agent key must not reach recovery's notes; use two folders side by side", c.StatePrefix, c.S3.Prefix)
	refuse(c.IdentitiesFile == "", "identities_file: missing; make one with `lifeline keygen recovery`")
	refuse(c.AllowedSignersFile == "", "allowed_signers_file: missing; put there the lines `lifeline keygen agent` prints")
	refuse(c.Audience != "" && (!frame.ValidAgent(c.Audience) || strings.TrimSpace(c.Audience) != c.Audience),
		"audience: %q must be 1 to %d printable ASCII characters without quote, backslash or outer spaces", c.Audience, frame.MaxAgent)
	refuse(c.PollInterval < time.Second, "poll_interval: %s is too short; use 1s or more", c.PollInterval)
	refuse(c.MaxAge < time.Minute, "max_age: %s is too short; it is how long an agent may need to upload a flare: use 336h", c.MaxAge)
	refuse(c.Quarantine.MaxBytes <= 0, "quarantine::max_bytes: must be more than 0, such as 10GiB")
	refuse(c.MaxRate <= 0, "max_rate: must be more than 0 bytes per second, such as 32MiB")
	return errors.Join(errs...)
}

// CheckFiles says what is wrong with the files that a valid Config names, as the
// next start would find them. It uses no network.
func (c *Config) CheckFiles(ctx context.Context) error {
	keys := newKeyring(c)
	keys.current()
	errs := []error{keys.problem()}
	if err := c.S3.CheckFiles(); err != nil {
		errs = append(errs, fmt.Errorf("s3: %w", err))
	}
	server := c.Forward.Server()
	if err := server.CheckFiles(ctx); err != nil {
		errs = append(errs, fmt.Errorf("forward: %w", err))
	}
	return errors.Join(errs...)
}

var headerForm = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// Validate finds what is wrong without network and without reading a file.
func (c *ForwardConfig) Validate() error {
	var errs []error
	refuse := func(wrong bool, text string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(text, args...))
		}
	}
	server := c.Server()
	errs = append(errs, server.Validate())
	refuse(c.Timeout <= 0, "timeout: must be more than 0: an attempt without end stops recovery; use 30s")
	refuse(c.TenantHeader != "" && !headerForm.MatchString(c.TenantHeader), "tenant_header: %q is not the name of a header, such as X-Scope-OrgID", c.TenantHeader)
	refuse(flare.ReservedMeta(c.TenantHeader), "tenant_header: %q has a meaning of its own; use another name, such as X-Scope-OrgID", c.TenantHeader)
	for section, headers := range c.headers() {
		for _, pair := range headers {
			refuse(c.TenantHeader != "" && sameHeader(pair.Name, c.TenantHeader),
				"%s::headers: %s is also the tenant_header, and a fixed value would give all tenants one name; remove it", section, pair.Name)
		}
	}
	return errors.Join(errs...)
}

// headers returns the fixed headers by the section they stand in.
func (c *ForwardConfig) headers() map[string]configopaque.MapList {
	all := map[string]configopaque.MapList{}
	if c.HTTP.HasValue() {
		all["http"] = c.HTTP.Get().Headers
	}
	if c.GRPC.HasValue() {
		all["grpc"] = c.GRPC.Get().Headers
	}
	return all
}

func sameHeader(a, b string) bool {
	return textproto.CanonicalMIMEHeaderKey(a) == textproto.CanonicalMIMEHeaderKey(b)
}
