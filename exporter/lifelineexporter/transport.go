package lifelineexporter

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configtls"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/otlpclient"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// newClient makes the way to the gateway. Only a broken client configuration is
// an error.
func (c *core) newClient(ctx context.Context, host component.Host) (otlpsend.Client, error) {
	cfg := otlpclient.Config{
		HTTP: c.cfg.HTTP.Get(), GRPC: c.cfg.GRPC.Get(), Senders: c.cfg.Senders,
		Options: otlpsend.Options{Compression: otlpsend.Compression(c.cfg.Compression)},
	}
	if c.cfg.ReceiptKeyFile != "" {
		keys := newReceiptKeys(c.cfg.ReceiptKeyFile, &c.health, c.set.Logger)
		_, _ = keys.get() // says what is wrong with them; the gateway may still be reached later
		cfg.Options.Receipts = keys.get
	}
	client, err := otlpclient.New(ctx, cfg, host, c.set)
	if err != nil {
		return nil, fmt.Errorf("make the client of %w", err)
	}
	return client, nil
}

// tls returns the TLS settings of the client in use, and the key they stand under.
func (c *Config) tls() (string, configtls.ClientConfig) {
	if c.GRPC.HasValue() {
		return "grpc", c.GRPC.Get().TLS
	}
	return "http", c.HTTP.Get().TLS
}

// receiptKeys are the keys that acks are checked with, read again when their
// file changes.
type receiptKeys struct {
	file   *reload.File[*receipt.Keys]
	health *health
	log    *zap.Logger
}

func newReceiptKeys(path string, h *health, log *zap.Logger) *receiptKeys {
	return &receiptKeys{file: receiptFile(path), health: h, log: log}
}

func receiptFile(path string) *reload.File[*receipt.Keys] {
	return &reload.File[*receipt.Keys]{Key: "receipt_key_file", Path: path, Parse: receipt.Parse}
}

// receiptTrouble is the trouble of receipt keys that are not usable.
const receiptTrouble = "receipt keys"

// get returns the keys in force, and tells when the file's state has changed.
func (r *receiptKeys) get() (*receipt.Keys, error) {
	broken := r.file.Check()
	if r.health.set(receiptTrouble, broken) {
		if broken != nil {
			r.log.Error("The receipt keys are not usable. The last good ones stay in force; if there were none, nothing is sent.", zap.Error(broken))
		} else {
			r.log.Info("The receipt keys are good again.")
		}
	}
	return r.file.Get()
}
