package lifelineexporter

import (
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/s3bucket"
)

// Config is the configuration of the exporter. The README has a table of all
// keys; Validate finds everything that needs neither network nor the content of
// a file.
type Config struct {
	HTTP configoptional.Optional[confighttp.ClientConfig] `mapstructure:"http"`
	GRPC configoptional.Optional[configgrpc.ClientConfig] `mapstructure:"grpc"` // exactly one of the two

	Agent        string   `mapstructure:"agent"`         // default: the signing certificate's principal, else the host name
	Audience     string   `mapstructure:"audience"`      // may be empty
	MetadataKeys []string `mapstructure:"metadata_keys"` // client metadata that is never mixed

	ReceiptKeyFile string `mapstructure:"receipt_key_file"` // set: an ack must carry a receipt

	Compression string        `mapstructure:"compression"` // on the wire; stored it is always zstd
	Timeout     time.Duration `mapstructure:"timeout"`     // of one attempt
	Retry       RetryConfig   `mapstructure:"retry_on_failure"`
	Senders     int           `mapstructure:"senders"`
	Order       string        `mapstructure:"order"`
	Frame       FrameConfig   `mapstructure:"frame"`
	Ring        RingConfig    `mapstructure:"ring"`

	Flare           configoptional.Optional[FlareConfig] `mapstructure:"flare"` // none: no fallback
	ShutdownTimeout time.Duration                        `mapstructure:"shutdown_timeout"`

	_ struct{}
}

// RetryConfig is the backoff of the endpoint.
type RetryConfig struct {
	InitialInterval time.Duration  `mapstructure:"initial_interval"`
	MaxInterval     time.Duration  `mapstructure:"max_interval"`
	MaxElapsedTime  *time.Duration `mapstructure:"max_elapsed_time"` // refused: the ring's age rules

	_ struct{}
}

// FrameConfig bounds a frame.
type FrameConfig struct {
	MaxSize bytesize.Size `mapstructure:"max_size"` // encoded, uncompressed
	Linger  time.Duration `mapstructure:"linger"`   // 0: one frame per call

	_ struct{}
}

// RingConfig bounds the memory that holds telemetry.
type RingConfig struct {
	Capacity bytesize.Size `mapstructure:"capacity"`
	MaxAge   time.Duration `mapstructure:"max_age"`
	WhenFull string        `mapstructure:"when_full"`

	_ struct{}
}

// FlareConfig is the fallback.
type FlareConfig struct {
	Buckets              []s3bucket.Config `mapstructure:"buckets"` // tried in this order
	RecipientsFile       string            `mapstructure:"recipients_file"`
	AllowSingleRecipient bool              `mapstructure:"allow_single_recipient"`
	SigningKeyFile       string            `mapstructure:"signing_key_file"`
	MaxSize              bytesize.Size     `mapstructure:"max_size"`       // 0: the smaller of 8MiB and capacity/8
	Budget               bytesize.Size     `mapstructure:"budget"`         // sealed bytes per day
	DrillInterval        time.Duration     `mapstructure:"drill_interval"` // 0: no drills

	_ struct{}
}

// The values of the keys that are words.
const (
	oldestFirst = "oldest_first"
	newestFirst = "newest_first"
	dropOldest  = "drop_oldest"
	refuse      = "refuse"
	zstd        = string(otlpsend.Zstd)
)

// defaultFlareSize is the largest flare unless configured otherwise.
const defaultFlareSize = 8 * bytesize.MiB

func createDefaultConfig() component.Config {
	return &Config{
		HTTP:            configoptional.Default(otlpclient.DefaultHTTP()),
		GRPC:            configoptional.Default(otlpclient.DefaultGRPC()),
		Compression:     zstd,
		Timeout:         30 * time.Second,
		Retry:           RetryConfig{InitialInterval: time.Second, MaxInterval: 30 * time.Second},
		Senders:         4,
		Order:           oldestFirst,
		Frame:           FrameConfig{MaxSize: 256 * bytesize.KiB, Linger: time.Second},
		Ring:            RingConfig{Capacity: 64 * bytesize.MiB, MaxAge: 5 * time.Minute, WhenFull: dropOldest},
		Flare:           configoptional.Default(FlareConfig{Budget: bytesize.GiB, DrillInterval: 24 * time.Hour}),
		ShutdownTimeout: 20 * time.Second,
	}
}

// flareSize returns the size of the largest flare, 0 without a fallback.
func (c *Config) flareSize() bytesize.Size {
	if !c.Flare.HasValue() {
		return 0
	}
	if size := c.Flare.Get().MaxSize; size != 0 {
		return size
	}
	return min(defaultFlareSize, c.Ring.Capacity/8)
}
