package statusextension

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
)

// Config is the configuration of lifeline_status: the keys of any HTTP server.
type Config struct {
	confighttp.ServerConfig `mapstructure:",squash"`

	_ struct{}
}

func createDefaultConfig() component.Config {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint = "localhost:55690"
	server.ReadHeaderTimeout, server.ReadTimeout, server.WriteTimeout = 5*time.Second, 5*time.Second, 10*time.Second
	server.MaxRequestBodySize = 1 << 10 // nobody has to send one
	return &Config{ServerConfig: server}
}

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	if c.NetAddr.Endpoint == "" {
		return errors.New("endpoint: missing; use localhost:55690")
	}
	if c.WriteTimeout > 0 && c.WriteTimeout <= patience {
		return fmt.Errorf("write_timeout: %s is too short: a component has %s to say what it has to; use 10s", c.WriteTimeout, patience)
	}
	return nil
}

// CheckFiles says what is wrong with the files that a valid Config names.
func (c *Config) CheckFiles(ctx context.Context) error {
	if !c.TLS.HasValue() {
		return nil
	}
	if _, err := c.TLS.Get().LoadTLSConfig(ctx); err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	return nil
}
