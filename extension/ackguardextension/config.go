package ackguardextension

import (
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
)

// Config is the configuration of ack_guard. The README explains every key.
type Config struct {
	// Mode says what a fault does: enforce stops the start, warn logs it.
	Mode string `mapstructure:"mode"`
	// Allow names processors, connectors and exporters, by type or by id, that
	// return only when what is behind them has.
	Allow []string `mapstructure:"allow"`

	_ struct{}
}

const (
	modeEnforce = "enforce"
	modeWarn    = "warn"
)

func createDefaultConfig() component.Config { return &Config{Mode: modeEnforce} }

// Validate implements confmap.Validator.
func (c *Config) Validate() error {
	if c.Mode != modeEnforce && c.Mode != modeWarn {
		return fmt.Errorf("mode: %q is neither %s (a fault stops the start) nor %s (a fault is logged)", c.Mode, modeEnforce, modeWarn)
	}
	for _, name := range c.Allow {
		var id component.ID
		if err := id.UnmarshalText([]byte(name)); err != nil {
			return fmt.Errorf("allow: %q is not the name of a component, such as routing or otlp/mirror: %w", name, err)
		}
		if id.Type().String() == "batch" {
			return errors.New("allow: batch answers before Kafka has the data, whatever it is told: remove it here and from the pipelines")
		}
	}
	return nil
}
