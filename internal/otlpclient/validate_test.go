package otlpclient

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configgrpc"
)

func TestEndpointsOfGRPC(t *testing.T) {
	for _, good := range []string{"gw:4317", "https://gw:4317", "http://gw:4317", "dns:///gw:4317", "[::1]:4317", "unix:///run/otlp.sock", "passthrough:///gw:4317"} {
		require.NoError(t, validateGRPC(&configgrpc.ClientConfig{Endpoint: good}), good)
	}
	for bad, remedy := range map[string]string{
		"":                   "missing",
		"gw":                 "must be host and port",
		":4317":              "must be host and port",
		"gw:":                "must be host and port",
		"https://gw:4317/v1": "remove the path",
	} {
		err := validateGRPC(&configgrpc.ClientConfig{Endpoint: bad})
		require.ErrorContains(t, err, "grpc::endpoint: ", bad)
		require.ErrorContains(t, err, remedy, bad)
		require.ErrorContains(t, err, "such as gateway.example.com:4317", bad)
	}
}

func TestOnlyHostAndPortAreOursToDial(t *testing.T) {
	for endpoint, want := range map[string]string{"gw:4317": "gw:4317", "https://gw:4317": "gw:4317", "dns:///gw:4317": "gw:4317"} {
		addr, ok := hostPort(endpoint)
		require.True(t, ok, endpoint)
		require.Equal(t, want, addr)
	}
	for _, endpoint := range []string{"unix:///run/x", "unix:/run/x", "dns://8.8.8.8/gw:4317", "xds:///gw", "passthrough:///gw:4317"} {
		_, ok := hostPort(endpoint)
		require.False(t, ok, endpoint)
	}
}
