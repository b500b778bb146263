package otlpclient

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Validate refuses what cannot work, and what would break promises behind the
// client's back. The errors name keys beside and below http and grpc.
func (c *Config) Validate() error {
	var errs []error
	switch {
	case c.HTTP == nil && c.GRPC == nil:
		errs = append(errs, errors.New("http: missing, and grpc too; tell where the gateway is, such as http: {endpoint: https://gateway.example.com:4318} or grpc: {endpoint: gateway.example.com:4317}"))
	case c.HTTP != nil && c.GRPC != nil:
		errs = append(errs, errors.New("grpc: stands beside http; remove one of the two: there is one way to the gateway"))
	}
	if c.HTTP != nil {
		if c.HTTP.Timeout != 0 {
			errs = append(errs, errors.New("http::timeout: remove it and use the component's own timeout"))
		}
		errs = append(errs, validateHTTP(c.HTTP))
	}
	if c.GRPC != nil {
		errs = append(errs, validateGRPC(c.GRPC))
	}
	switch otlpsend.Compression(c.Compression) {
	case otlpsend.Zstd, otlpsend.Gzip, otlpsend.None:
	default:
		errs = append(errs, fmt.Errorf("compression: %q must be %s, %s or %s", c.Compression, otlpsend.Zstd, otlpsend.Gzip, otlpsend.None))
	}
	return errors.Join(errs...)
}

func validateHTTP(c *confighttp.ClientConfig) error {
	var errs []error
	if c.Compression != "" {
		errs = append(errs, errors.New("http::compression: remove it: frames are stored compressed and sent as they are; the component's own key is compression"))
	}
	errs = append(errs, validateHeaders("http", c.Headers))
	u, err := url.Parse(c.Endpoint)
	switch {
	case c.Endpoint == "":
		errs = append(errs, errors.New("http::endpoint: missing; give the gateway's base URL, such as https://gateway.example.com:4318"))
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		errs = append(errs, errors.New("http::endpoint: must be a base URL with http:// or https://, such as https://gateway.example.com:4318"))
	case strings.Contains(u.Path, "/v1/"):
		errs = append(errs, fmt.Errorf("http::endpoint: must be a base URL; remove %s, the path of each signal is added", u.Path))
	}
	return errors.Join(errs...)
}

func validateGRPC(c *configgrpc.ClientConfig) error {
	var errs []error
	if c.Compression != "" {
		errs = append(errs, errors.New("grpc::compression: remove it: frames are stored compressed and sent as they are; the component's own key is compression"))
	}
	if c.WaitForReady {
		errs = append(errs, errors.New("grpc::wait_for_ready: remove it: a gateway that cannot be reached must be known at once"))
	}
	errs = append(errs, validateHeaders("grpc", c.Headers))
	const form = "such as gateway.example.com:4317"
	addr, plain := hostPort(c.Endpoint)
	switch host, port, err := net.SplitHostPort(addr); {
	case c.Endpoint == "":
		errs = append(errs, errors.New("grpc::endpoint: missing; give the gateway's host and port, "+form))
	case plain && strings.Contains(addr, "/"):
		errs = append(errs, fmt.Errorf("grpc::endpoint: remove the path of %q; give host and port alone, %s", addr, form))
	case plain && (err != nil || host == "" || port == ""):
		errs = append(errs, fmt.Errorf("grpc::endpoint: %q must be host and port, %s", addr, form))
	}
	return errors.Join(errs...)
}

// validateHeaders refuses headers that would contradict what is said of a frame.
func validateHeaders(section string, headers configopaque.MapList) error {
	var errs []error
	for name := range headers.Iter {
		lower := strings.ToLower(name)
		if strings.HasPrefix(lower, "lifeline-") || strings.HasPrefix(lower, "content-") || strings.HasPrefix(lower, "grpc-") {
			errs = append(errs, fmt.Errorf("%s::headers: %s belongs to the component, which sets it for every frame; remove it", section, name))
		}
	}
	return errors.Join(errs...)
}
