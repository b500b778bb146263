package s3bucket

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/bucket"
)

// conn is a connection to a known address.
type conn struct {
	net.Conn
	to string
}

func (c conn) RemoteAddr() net.Addr {
	addr, _ := net.ResolveTCPAddr("tcp", c.to)
	return addr
}

func TestDialerFallsBackToAddressesThatWorked(t *testing.T) {
	var dialed []string
	resolve := "192.0.2.1:443"
	refused := map[string]bool{}
	d := newDialer()
	d.dialOnce = func(_ context.Context, _, addr string) (net.Conn, error) {
		dialed = append(dialed, addr)
		switch {
		case addr != "s3:443" && refused[addr]:
			return nil, errors.New("refused")
		case addr != "s3:443":
			return conn{to: addr}, nil
		case resolve == "":
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "s3"}}
		}
		return conn{to: resolve}, nil
	}
	dial := func() error { _, err := d.dial(t.Context(), "tcp", "s3:443"); return err }

	resolve = ""
	require.ErrorContains(t, dial(), "no such host")
	for _, resolve = range []string{"192.0.2.1:443", "192.0.2.2:443", "192.0.2.1:443", "192.0.2.3:443", "192.0.2.4:443", "192.0.2.5:443"} {
		require.NoError(t, dial())
	}
	resolve, dialed = "", nil
	require.NoError(t, dial())
	require.Equal(t, []string{"s3:443", "192.0.2.5:443"}, dialed, "the latest that worked")

	refused["192.0.2.5:443"], dialed = true, nil
	require.NoError(t, dial())
	require.Equal(t, []string{"s3:443", "192.0.2.5:443", "192.0.2.4:443"}, dialed)
	dialed = nil
	require.NoError(t, dial())
	require.Equal(t, []string{"s3:443", "192.0.2.4:443"}, dialed)

	for _, addr := range []string{"192.0.2.1:443", "192.0.2.3:443", "192.0.2.4:443"} {
		refused[addr] = true
	}
	require.ErrorContains(t, dial(), "no such host", "the cause comes first")
	_, err := d.dial(t.Context(), "tcp", "192.0.2.5:443")
	require.ErrorContains(t, err, "refused", "only a name that does not resolve is replaced")
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
