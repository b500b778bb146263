package lifelinereceiver

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// tokens is an authenticator: the token is the name.
type tokens struct {
	component.StartFunc
	component.ShutdownFunc
	attribute string
}

func (a tokens) Authenticate(ctx context.Context, sources map[string][]string) (context.Context, error) {
	for _, key := range []string{"Authorization", "authorization"} {
		if values := sources[key]; len(values) == 1 {
			info := client.FromContext(ctx)
			info.Auth = identity{a.attribute: values[0]}
			return client.NewContext(ctx, info), nil
		}
	}
	return ctx, errors.New("no token")
}

type identity map[string]string

func (i identity) GetAttribute(name string) any { return i[name] }
func (i identity) GetAttributeNames() []string  { return nil }

type hostWith map[component.ID]component.Component

func (h hostWith) GetExtensions() map[component.ID]component.Component { return h }

func TestAgentIsTheAuthenticatedOne(t *testing.T) {
	id := component.MustNewID("tokens")
	for _, attribute := range []string{"subject", "username"} {
		for _, protocol := range protocols {
			k := &kafka{}
			cfg := testConfig(func(c *Config) {
				auth := configauth.Config{AuthenticatorID: id}
				c.Protocols.GRPC.Get().Auth = configoptional.Some(auth)
				c.Protocols.HTTP.Get().Auth = configoptional.Some(confighttp.AuthConfig{Config: auth})
			})
			r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, k)
			require.NoError(t, err)
			require.NoError(t, r.Start(t.Context(), hostWith{id: tokens{attribute: attribute}}))
			t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
			g := r.(*shared).gateway
			raw := encoded(t, frame.Traces, 1)

			refused := send(t.Context(), g, protocol, raw, frame.HeaderAgent, "forged")
			require.Equal(t, codes.Unauthenticated, refused.status.Code())
			require.Empty(t, k.all())

			taken := send(t.Context(), g, protocol, raw, "authorization", "acme/host-17", frame.HeaderAgent, "forged")
			require.Equal(t, codes.OK, taken.status.Code())
			require.Equal(t, "acme/host-17", metadataOf(k.all()[0].info)[frame.HeaderAgent])
		}
	}
}
