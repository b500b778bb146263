package otlpclient

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// receipts returns what hands out the receipt keys in force; nil if none are
// demanded. The file is read again when it changes.
func (c *Config) receipts() func() (*receipt.Keys, error) {
	if c.ReceiptKeyFile == "" {
		return nil
	}
	file, told := receiptFile(c.ReceiptKeyFile), c.ReceiptKeys
	get := func() (*receipt.Keys, error) {
		if told != nil {
			told(file.Check())
		}
		return file.Get()
	}
	_, _ = get() // says what is wrong with them; the server may still be reached later
	return get
}

func receiptFile(path string) *reload.File[*receipt.Keys] {
	return &reload.File[*receipt.Keys]{Key: "receipt_key_file", Path: path, Parse: receipt.Parse}
}

// TLS returns the TLS settings in use, and the section they stand under.
func (c *Config) TLS() (section string, settings configtls.ClientConfig) {
	if c.GRPC != nil {
		return "grpc", c.GRPC.TLS
	}
	return "http", c.HTTP.TLS
}

// CheckFiles says what is wrong with the files that c names, as the next start
// would find them. It uses no network.
func (c *Config) CheckFiles(ctx context.Context) error {
	var errs []error
	section, secure := c.TLS()
	if _, err := secure.LoadTLSConfig(ctx); err != nil {
		errs = append(errs, fmt.Errorf("%s::tls: %w", section, err))
	}
	if c.ReceiptKeyFile != "" {
		errs = append(errs, receiptFile(c.ReceiptKeyFile).Check())
	}
	return errors.Join(errs...)
}

// Dependencies names the extensions that the client uses: they must start first.
func (c *Config) Dependencies() []component.ID {
	var ids []component.ID
	add := func(auth configoptional.Optional[configauth.Config], middlewares []configmiddleware.Config) {
		if a := auth.Get(); a != nil {
			ids = append(ids, a.AuthenticatorID)
		}
		for _, m := range middlewares {
			ids = append(ids, m.ID)
		}
	}
	if c.HTTP != nil {
		add(c.HTTP.Auth, c.HTTP.Middlewares)
	}
	if c.GRPC != nil {
		add(c.GRPC.Auth, c.GRPC.Middlewares)
	}
	return ids
}
