package lifelinereceiver

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/config/configtls"
)

// CheckFiles says what is wrong with the files that a valid Config names, as the
// next start would find them. It uses no network.
func (c *Config) CheckFiles(ctx context.Context) error {
	secured := map[string]*configtls.ServerConfig{}
	if grpc := c.Protocols.GRPC.Get(); grpc != nil {
		secured["grpc"] = grpc.TLS.Get()
	}
	if http := c.Protocols.HTTP.Get(); http != nil {
		secured["http"] = http.TLS.Get()
	}
	var errs []error
	for _, protocol := range []string{"grpc", "http"} {
		if secured[protocol] == nil {
			continue
		}
		if _, err := secured[protocol].LoadTLSConfig(ctx); err != nil {
			errs = append(errs, fmt.Errorf("protocols::%s::tls: %w", protocol, err))
		}
	}
	return errors.Join(append(errs, newReceipts(c.ReceiptKeyFile).check())...)
}
