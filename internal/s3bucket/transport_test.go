package s3bucket

import (
	"context"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
	"github.com/otel-lifeline/lifeline/internal/dial"
)

// The bucket's name may be gone together with the gateway's.
func TestABucketWhoseNameIsGoneIsFoundWhereItWas(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", "tag") }))
	defer server.Close()
	gone := false
	d := dial.New()
	system := d.Connect
	d.Connect = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr != "s3.invalid:80" {
			return system(ctx, network, addr)
		}
		if gone {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "s3.invalid"}}
		}
		return system(ctx, network, server.Listener.Addr().String())
	}
	rt, err := newTransport(Config{}, d, nil)
	require.NoError(t, err)
	rt.DisableKeepAlives = true
	for _, gone = range []bool{false, true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://s3.invalid/key", http.NoBody)
		require.NoError(t, err)
		resp, err := rt.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "tag", resp.Header.Get("ETag"))
	}
}

func TestCAFileIsReadAgain(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", "tag") }))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "ca.pem")
	write := func(data []byte) {
		require.NoError(t, os.WriteFile(path+".new", data, 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}
	cfg := config(server.URL)
	cfg.CAFile = path
	b := open(t, cfg)
	write([]byte("garbage"))
	err := put(t.Context(), b)
	requireError(t, err, bucket.Unreachable, "")
	require.ErrorContains(t, err, "ca_file: "+path+": no certificate found")

	write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	require.NoError(t, put(t.Context(), b))
	write(nil)
	require.NoError(t, put(t.Context(), b), "a broken file does not replace a good one")
	require.ErrorContains(t, b.Refresh(t.Context()), "ca_file: ")
}
