package otlpclient

import (
	"time"

	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
)

// DefaultHTTP returns the client settings of HTTP: a connection that died without
// a word is found in seconds, not minutes.
func DefaultHTTP() confighttp.ClientConfig {
	c := confighttp.NewDefaultClientConfig()
	c.HTTP2ReadIdleTimeout = 10 * time.Second
	c.HTTP2PingTimeout = 10 * time.Second
	return c
}

// DefaultGRPC does the same for gRPC. Servers hang up on whoever pings more often
// than they like; stock ones do not mind this.
func DefaultGRPC() configgrpc.ClientConfig {
	c := configgrpc.NewDefaultClientConfig()
	c.Keepalive = configoptional.Some(configgrpc.KeepaliveClientConfig{Time: 30 * time.Second, Timeout: 10 * time.Second})
	return c
}
