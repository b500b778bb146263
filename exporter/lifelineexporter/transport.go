package lifelineexporter

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/otlpclient"
)

// newClient makes the way to the gateway. Only a broken client configuration is
// an error.
func (c *core) newClient(ctx context.Context, host component.Host) (*otlpclient.Client, error) {
	cfg := c.cfg.server()
	cfg.ReceiptKeys = c.receiptKeys
	client, err := otlpclient.New(ctx, cfg, host, c.set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("make the client of %w", err)
	}
	return client, nil
}

// server says how to reach the gateway.
func (c *Config) server() otlpclient.Config {
	return otlpclient.Config{
		HTTP: c.HTTP.Get(), GRPC: c.GRPC.Get(), Senders: c.Senders,
		Compression: c.Compression, ReceiptKeyFile: c.ReceiptKeyFile,
	}
}

// receiptTrouble is the trouble of receipt keys that are not usable.
const receiptTrouble = "receipt keys"

// receiptKeys tells when the state of the receipt keys has changed.
func (c *core) receiptKeys(broken error) {
	if !c.troubles.Set(receiptTrouble, broken) {
		return
	}
	if broken != nil {
		c.set.Logger.Error("The receipt keys are not usable. The last good ones stay in force; if there were none, nothing is sent.", zap.Error(broken))
	} else {
		c.set.Logger.Info("The receipt keys are good again.")
	}
}
