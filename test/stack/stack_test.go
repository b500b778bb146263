package stack

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

func TestCollectorsInheritNothingThatMatters(t *testing.T) {
	for _, name := range []string{"LIFELINE_GATEWAY", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "http_proxy"} {
		t.Setenv(name, "from outside")
	}
	t.Setenv("STACK_TEST", "harmless")
	env := cleanEnv()
	require.Contains(t, env, "STACK_TEST=harmless")
	require.NotContains(t, strings.Join(env, "\n"), "from outside")
}

func TestVerdict(t *testing.T) {
	v, err := parseVerdict(`{"name":"x.age","state":"good","principal":"acme/host-17","manifest":{"reason":"expired",
		"report":{"causes":{"refused":5,"dns":1}},"totals":{"traces":{"items":3},"logs":{"items":7}}}}`)
	require.NoError(t, err)
	require.Equal(t, "acme/host-17", v.Principal)
	require.Equal(t, "7 logs + 3 traces", v.Items())
	require.Equal(t, "dns ×1, refused ×5", v.Causes())
	_, err = parseVerdict("x.age: good")
	require.ErrorContains(t, err, "x.age: good")
}

func TestSpansCount(t *testing.T) {
	now := time.Now()
	n, err := otlpcodec.Count(frame.Traces, Spans(7, now))
	require.NoError(t, err)
	require.EqualValues(t, SpansPerRequest, n)
	require.NotEqual(t, Spans(7, now), Spans(8, now))
}

func TestPost(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/logs" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte("said"))
	}))
	defer srv.Close()
	status, body, err := Post(t.Context(), srv.Listener.Addr().String(), frame.Logs, []byte{})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "said", string(body))
}
