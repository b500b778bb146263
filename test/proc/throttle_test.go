package proc

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestThrottle(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	defer srv.Close()
	p, err := StartThrottle(t.Context(), srv.Listener.Addr().String(), 1<<20)
	require.NoError(t, err)
	post := func(n int) (int, error) {
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post("http://"+p.Addr(), "", bytes.NewReader(make([]byte, n)))
		if err != nil {
			return 0, err
		}
		defer func() { _ = resp.Body.Close() }()
		data, err := io.ReadAll(resp.Body)
		return len(data), err
	}
	began := time.Now()
	n, err := post(256 << 10)
	require.NoError(t, err)
	require.Equal(t, 256<<10, n)
	require.GreaterOrEqual(t, time.Since(began), 240*time.Millisecond, "never faster")

	p.Shut(true)
	_, err = post(1)
	require.Error(t, err)
	_, err = post(1)
	require.Error(t, err)
	require.EqualValues(t, 2, p.Refused())
	p.Shut(false)
	_, err = post(1)
	require.NoError(t, err)
	require.NoError(t, p.Close())
}
