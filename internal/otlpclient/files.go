package otlpclient

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/reload"
)

// receipts hands out the receipt keys in force. The file is read again when it
// changes.
type receipts struct {
	file *reload.Files[*receipt.Keys]

	telling sync.Mutex // held from a look at the file until it is told, or an old look could be told last
	told    func(broken error)
}

// receipts returns nil if none are demanded.
func (c *Config) receipts() *receipts {
	if c.ReceiptKeyFile == "" {
		return nil
	}
	return &receipts{file: receiptFile(c.ReceiptKeyFile), told: c.ReceiptKeys}
}

func (r *receipts) check() {
	if r == nil || r.told == nil {
		return
	}
	_, _ = r.get() // what is wrong is told
}

func (r *receipts) get() (*receipt.Keys, error) {
	if r.told == nil {
		return r.file.Get()
	}
	r.telling.Lock()
	defer r.telling.Unlock()
	keys, broken := r.file.State()
	r.told(broken)
	if keys == nil {
		return nil, broken
	}
	return keys, nil
}

func receiptFile(path string) *reload.Files[*receipt.Keys] {
	return reload.File("receipt_key_file", path, receipt.Parse)
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
