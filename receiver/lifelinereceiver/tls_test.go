package lifelinereceiver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/otel-lifeline/lifeline/internal/certtest"
	"github.com/otel-lifeline/lifeline/internal/frame"
	ownmetadata "github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// startWithAuth runs a receiver behind one of the Collector's own authenticators.
func startWithAuth(t *testing.T, k *kafka, f extension.Factory, cfg component.Config) *gateway {
	t.Helper()
	set := extensiontest.NewNopSettings(f.Type())
	ext, err := f.Create(t.Context(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, ext.Shutdown(context.Background())) })
	auth := configauth.Config{AuthenticatorID: set.ID}
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(ownmetadata.Type), testConfig(func(c *Config) {
		c.Protocols.GRPC.Get().Auth = configoptional.Some(auth)
		c.Protocols.HTTP.Get().Auth = configoptional.Some(confighttp.AuthConfig{Config: auth})
	}), k)
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), hostWith{set.ID: ext}))
	t.Cleanup(func() { require.NoError(t, r.Shutdown(context.Background())) })
	return r.(*shared).gateway
}

func TestTheCollectorsOwnAuthenticators(t *testing.T) {
	bearer := bearertokenauthextension.NewFactory()
	token := bearer.CreateDefaultConfig().(*bearertokenauthextension.Config)
	token.BearerToken = "secret"
	basic := basicauthextension.NewFactory()
	users := basic.CreateDefaultConfig().(*basicauthextension.Config)
	users.Htpasswd = &basicauthextension.HtpasswdSettings{Inline: "acme:secret"}
	raw := encoded(t, frame.Traces, 3)
	for name, c := range map[string]struct {
		factory     extension.Factory
		config      component.Config
		good, wrong string
		agent       string
	}{
		"bearer": {bearer, token, "Bearer secret", "Bearer guess", ""},
		"basic":  {basic, users, "Basic YWNtZTpzZWNyZXQ=", "Basic YWNtZTpndWVzcw==", "acme"},
	} {
		for _, protocol := range protocols {
			t.Run(name+" "+protocol, func(t *testing.T) {
				k := &kafka{}
				g := startWithAuth(t, k, c.factory, c.config)
				for _, headers := range [][]string{nil, {"authorization", c.wrong}} {
					r := send(t.Context(), g, protocol, raw, headers...)
					require.Equal(t, codes.Unauthenticated, r.status.Code())
				}
				require.Empty(t, k.all())
				r := send(t.Context(), g, protocol, raw, "authorization", c.good, frame.HeaderAgent, "forged", frame.HeaderFlareID, flareID)
				require.Equal(t, codes.OK, r.status.Code(), r.status.Message())
				md := metadataOf(k.all()[0].info)
				require.Equal(t, c.agent, md[frame.HeaderAgent])
				require.NotContains(t, md, frame.HeaderFlareID)
				require.NotContains(t, md, "authorization")
			})
		}
	}
}

// A client that is refused has sent its headers and nothing else.
func TestRefusedClientsCostNoBody(t *testing.T) {
	f := bearertokenauthextension.NewFactory()
	cfg := f.CreateDefaultConfig().(*bearertokenauthextension.Config)
	cfg.BearerToken = "secret"
	k := &kafka{}
	g := startWithAuth(t, k, f, cfg)

	conn, err := net.Dial("tcp", g.http.addr.String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "POST /v1/traces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer guess\r\n"+
		"Content-Type: application/x-protobuf\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "who wants to read the body says first to go on")

	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer guess")
	stream, err := dial(t, g).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true},
		"/"+grpcServices[frame.Traces]+"/Export", grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	require.NoError(t, err)
	require.Equal(t, codes.Unauthenticated, status.Code(stream.RecvMsg(&rawMessage{})), "no byte of a body was sent")
	require.Empty(t, g.inflight.Snapshot())
	require.Equal(t, g.admission.total, g.admission.room())
}

// clientTLS returns the TLS configuration of a client with a certificate of a name,
// without one if the name is empty.
func clientTLS(t *testing.T, a *certtest.Authority, name string) *tls.Config {
	t.Helper()
	cfg := &tls.Config{RootCAs: a.Roots(), MinVersion: tls.VersionTLS12}
	if name != "" {
		cert, err := tls.X509KeyPair(a.Issue(name))
		require.NoError(t, err)
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

func TestMutualTLS(t *testing.T) {
	ours, others := certtest.NewAuthority(t, "ours"), certtest.NewAuthority(t, "others")
	cert, key := ours.Issue("gateway")
	dir := t.TempDir()
	write := func(name string, pem []byte) (path string) {
		path = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem, 0o600))
		return path
	}
	server := configoptional.Some(configtls.ServerConfig{
		Config:       configtls.Config{CertFile: write("gateway.crt", cert), KeyFile: write("gateway.key", key)},
		ClientCAFile: write("ca.crt", ours.PEM),
	})
	k := &kafka{}
	g := startPassthrough(t, k, func(c *Config) {
		c.Protocols.GRPC.Get().TLS, c.Protocols.HTTP.Get().TLS = server, server
	})
	raw := encoded(t, frame.Traces, 3)
	stranger := clientTLS(t, others, "acme/host-17")
	stranger.RootCAs = ours.Roots()
	for name, c := range map[string]struct {
		tls *tls.Config
		ok  bool
	}{"a client of ours": {clientTLS(t, ours, "acme/host-17"), true}, "a stranger": {stranger, false}, "no certificate": {clientTLS(t, ours, ""), false}} {
		t.Run(name, func(t *testing.T) {
			before := len(k.all())
			conn, err := grpc.NewClient(g.grpc.addr.String(), grpc.WithTransportCredentials(credentials.NewTLS(c.tls.Clone())))
			require.NoError(t, err)
			defer conn.Close()
			var answer rawMessage
			err = conn.Invoke(t.Context(), "/"+grpcServices[frame.Traces]+"/Export", &rawMessage{bytes: raw}, &answer,
				grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
			require.Equal(t, c.ok, err == nil, "gRPC: %v", err)

			client := &http.Client{Transport: &http.Transport{TLSClientConfig: c.tls.Clone(), DisableKeepAlives: true}}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.http.addr.String()+"/v1/traces", bytes.NewReader(raw))
			require.NoError(t, err)
			req.Header.Set("Content-Type", typeProto)
			req.Header.Set(frame.HeaderAgent, "forged")
			resp, err := client.Do(req)
			require.Equal(t, c.ok, err == nil, "HTTP: %v", err)
			if !c.ok {
				require.Len(t, k.all(), before)
				return
			}
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode)
			for _, w := range k.all()[before:] {
				require.Equal(t, "acme/host-17", metadataOf(w.info)[frame.HeaderAgent])
			}
			require.Len(t, k.all(), before+2)
		})
	}
}
