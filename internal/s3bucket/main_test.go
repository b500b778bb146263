package s3bucket

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var once = bucket.PutOptions{IfNoneMatch: true}

// config returns a valid Config for endpoint.
func config(endpoint string) Config {
	return Config{Bucket: "flares", Prefix: "f/", Endpoint: endpoint, AccessKeyID: "AKID", SecretAccessKey: "secret"}
}

func open(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// serve returns a Client of a store that answers with handle.
func serve(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return open(t, config(server.URL))
}

// refuse answers as S3 does.
func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>because</Message></Error>`, code)
}

// requireError checks what the caller learns.
func requireError(t *testing.T, err error, kind bucket.Kind, code string) {
	t.Helper()
	var e *bucket.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kind, e.Kind, "%v", err)
	require.Equal(t, code, e.Code, "%v", err)
	require.Error(t, e.Err)
}

func put(ctx context.Context, c *Client) error {
	_, err := c.Put(ctx, "f/k", frame.Bytes("flare"), once)
	return err
}
