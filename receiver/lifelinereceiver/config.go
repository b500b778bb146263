package lifelinereceiver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"

	"github.com/otel-lifeline/lifeline/internal/bytesize"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Config is the configuration of the receiver. README.md has every key.
type Config struct {
	Protocols   Protocols         `mapstructure:"protocols"`
	Passthrough PassthroughConfig `mapstructure:"passthrough"`
	Admission   AdmissionConfig   `mapstructure:"admission"`
	// AckTimeout is how long a client waits at most, from the arrival of its
	// headers. It must be shorter than the client's own timeout.
	AckTimeout time.Duration `mapstructure:"ack_timeout"`
	// Audience is compared with the lifeline-audience header of requests that
	// carry one. Empty: nothing is compared.
	Audience string `mapstructure:"audience"`
	// ReceiptKeyFile holds the keys of receipts, the proof of an ack. Empty: none are made.
	ReceiptKeyFile string `mapstructure:"receipt_key_file"`
	// TrustFlareHeaders takes lifeline-agent and lifeline-flare-id as sent.
	TrustFlareHeaders bool `mapstructure:"trust_flare_headers"`
	// MetadataKeys are request headers to hand on as client metadata.
	MetadataKeys []string `mapstructure:"metadata_keys"`

	_ struct{}
}

// Protocols are the listeners. At least one must be there.
type Protocols struct {
	GRPC configoptional.Optional[configgrpc.ServerConfig] `mapstructure:"grpc"`
	HTTP configoptional.Optional[confighttp.ServerConfig] `mapstructure:"http"`

	_ struct{}
}

// PassthroughConfig says where the bytes of a request go.
type PassthroughConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// To names the exporter behind the receiver: kafka, or lifeline on an agent. The
	// keys that follow are about kafka.
	To            string `mapstructure:"to"`
	TracesTopic   string `mapstructure:"traces_topic"`
	MetricsTopic  string `mapstructure:"metrics_topic"`
	LogsTopic     string `mapstructure:"logs_topic"`
	ProfilesTopic string `mapstructure:"profiles_topic"`
	// MaxMessageBytes is the largest record in uncompressed bytes. A larger
	// request is split. It must stay below the exporter's max_message_bytes.
	MaxMessageBytes bytesize.Size `mapstructure:"max_message_bytes"`

	_ struct{}
}

// AdmissionConfig bounds what is in flight.
type AdmissionConfig struct {
	// MaxInflight is the sum of the bytes of requests that are being read or
	// written, uncompressed.
	MaxInflight bytesize.Size `mapstructure:"max_inflight"`
	// MaxWait is how long a request waits for room before it is refused.
	MaxWait time.Duration `mapstructure:"max_wait"`

	_ struct{}
}

var _ component.Config = (*Config)(nil)

// The values of passthrough::to.
const (
	toKafka    = "kafka"
	toLifeline = "lifeline"
)

// ToLifeline reports whether the bytes of requests go to a lifeline exporter.
func (p *PassthroughConfig) ToLifeline() bool { return p.Enabled && p.To == toLifeline }

// minAckTimeout leaves room for a body to arrive and for Kafka to answer.
const minAckTimeout = time.Second

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	if c.AckTimeout < minAckTimeout {
		return fmt.Errorf("ack_timeout: %s is too short: at least %s", c.AckTimeout, minAckTimeout)
	}
	if strings.Trim(c.Audience, " ") != c.Audience || strings.ContainsFunc(c.Audience, unprintable) {
		return errors.New("audience: must be printable ASCII without spaces around it")
	}
	if c.Passthrough.ToLifeline() && c.ReceiptKeyFile != "" {
		return fmt.Errorf("receipt_key_file: a receipt says that Kafka has the data; with passthrough::to %s only a ring has it: remove it", toLifeline)
	}
	return errors.Join(c.validateProtocols(), c.Passthrough.validate(), c.validateMetadataKeys())
}

func (c *Config) validateProtocols() error {
	if !c.Protocols.GRPC.HasValue() && !c.Protocols.HTTP.HasValue() {
		return errors.New("protocols: name grpc, http or both")
	}
	if http := c.Protocols.HTTP.Get(); http != nil && http.CompressionAlgorithms != nil {
		return errors.New("protocols::http::compression_algorithms: leave it out: every OTLP client is understood")
	}
	if c.Admission.MaxWait < 0 || c.Admission.MaxWait >= c.AckTimeout {
		return errors.New("admission::max_wait: must be less than ack_timeout and not negative")
	}
	// As it was sent and decompressed: what can never fit would come again for ever.
	if largest := max(c.maxHTTP(), c.maxGRPC()); int64(c.Admission.MaxInflight) < 2*largest {
		return fmt.Errorf("admission::max_inflight: %s is less than twice the largest request that http or grpc accepts (%s)",
			c.Admission.MaxInflight, bytesize.Size(largest))
	}
	return nil
}

// defaultMaxBody is what confighttp takes for a max_request_body_size of 0.
const defaultMaxBody = int64(20 * bytesize.MiB)

// maxHTTP returns the largest body that HTTP accepts, compressed and not; 0 without HTTP.
func (c *Config) maxHTTP() int64 {
	http := c.Protocols.HTTP.Get()
	if http == nil {
		return 0
	}
	if http.MaxRequestBodySize <= 0 {
		return defaultMaxBody
	}
	return http.MaxRequestBodySize
}

// maxGRPC returns the largest message that gRPC accepts, uncompressed; 0 without gRPC.
func (c *Config) maxGRPC() int64 {
	grpc := c.Protocols.GRPC.Get()
	if grpc == nil {
		return 0
	}
	if grpc.MaxRecvMsgSizeMiB <= 0 {
		return defaultGRPCMaxMiB << 20
	}
	return int64(grpc.MaxRecvMsgSizeMiB) << 20
}

func (p *PassthroughConfig) validate() error {
	if !p.Enabled {
		return nil
	}
	if p.ToLifeline() {
		return p.validateToLifeline()
	}
	if p.To != toKafka {
		return fmt.Errorf("passthrough::to: %q must be %s or %s", p.To, toKafka, toLifeline)
	}
	for signal := range frame.NumSignals {
		if s := frame.Signal(signal); p.topic(s) == "" {
			return fmt.Errorf("passthrough::%s_topic: must not be empty", s)
		}
	}
	if p.MaxMessageBytes < bytesize.KiB {
		return fmt.Errorf("passthrough::max_message_bytes: %s is too small: at least 1KiB", p.MaxMessageBytes)
	}
	return nil
}

// validateToLifeline refuses what would be in vain.
func (p *PassthroughConfig) validateToLifeline() error {
	unset := defaultPassthrough()
	for signal := range frame.NumSignals {
		if s := frame.Signal(signal); p.topic(s) != unset.topic(s) {
			return fmt.Errorf("passthrough::%s_topic: nothing goes to Kafka with passthrough::to %s: remove it", s, toLifeline)
		}
	}
	if p.MaxMessageBytes != unset.MaxMessageBytes {
		return fmt.Errorf("passthrough::max_message_bytes: nothing goes to Kafka with passthrough::to %s: remove it; the exporter cuts requests at its frame::max_size", toLifeline)
	}
	return nil
}

func (p *PassthroughConfig) topic(s frame.Signal) string {
	return [...]string{p.TracesTopic, p.MetricsTopic, p.LogsTopic, p.ProfilesTopic}[s]
}

// reservedHeaders must not be handed on: they are secrets, or about one
// connection and not about the data.
var reservedHeaders = []string{
	"authorization", "cookie", "host", "connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
	"proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

func (c *Config) validateMetadataKeys() error {
	for _, key := range c.MetadataKeys {
		lower := strings.ToLower(key)
		reserved := lower == "" || strings.HasPrefix(lower, "lifeline-") || strings.HasPrefix(lower, "content-")
		for _, r := range reservedHeaders {
			reserved = reserved || lower == r
		}
		if reserved {
			return fmt.Errorf("metadata_keys: %q cannot be handed on: the receiver sets it itself, or it is about the connection", key)
		}
	}
	return nil
}

func unprintable(r rune) bool { return r < 0x20 || r > 0x7e }
