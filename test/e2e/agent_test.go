package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/test/env"
	"github.com/otel-lifeline/lifeline/test/s3"
	"github.com/otel-lifeline/lifeline/test/stack"
)

// post lets the agent accept n requests of spans, which the sink must get.
func post(ctx context.Context, s *stack.Stack, out *sink, from, n int) {
	t := out.t
	t.Helper()
	for i := range n {
		request := stack.Spans(uint64(from+i), time.Now()) //nolint:gosec // small
		out.accept(frame.Traces, request)
		status, body, err := stack.Post(ctx, s.Addr.AgentHTTP, frame.Traces, request)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, string(body))
	}
}

// agent makes the stack's agent send spans alone to the sink, and probe it often.
func agent(s *stack.Stack, out *sink, env ...string) {
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_GATEWAY=http://"+out.addr, "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Agent.Env = append(s.Agent.Env, env...)
	s.Agent.Configs = append(s.Agent.Configs, quickly)
}

// TestBrokenKeyFiles: a fallback that cannot work is an alarm that names the key
// and the remedy. The agent runs, and delivers.
func TestBrokenKeyFiles(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 90*time.Second)
	out := newSink(t, nil)
	agent(s, out)
	recipients, err := os.ReadFile(s.Path("keys", "recipients.txt"))
	require.NoError(t, err)
	one, _, _ := strings.Cut(string(recipients), "\n")
	for i, tc := range []struct {
		name, env, content string
		want               []string
	}{
		{"one recipient", "LIFELINE_RECIPIENTS", one, []string{"flare::recipients_file", "allow_single_recipient"}},
		{"no recipients file", "LIFELINE_RECIPIENTS", "", []string{"flare::recipients_file", "check the path"}},
		{"no public keys in it", "LIFELINE_RECIPIENTS", "what?\n", []string{"flare::recipients_file"}},
		{"no signing key", "LIFELINE_SIGNING_KEY", "", []string{"flare::signing_key_file", "check the path"}},
		{"no key in it", "LIFELINE_SIGNING_KEY", "what?\n", []string{"flare::signing_key_file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := s.Path("keys", "broken")
			if tc.content == "" {
				file = s.Path("keys", "missing")
			} else {
				require.NoError(t, os.WriteFile(file, []byte(tc.content), 0o600))
			}
			before := s.Agent.Env
			defer func() { s.Agent.Env = before }()
			s.Agent.Env = append(s.Agent.Env[:len(before):len(before)], tc.env+"="+file)
			require.NoError(t, s.Agent.Start(ctx))
			defer s.Agent.Kill()
			line, err := s.Agent.P.WaitLine(ctx, append(tc.want, "error")...)
			require.NoError(t, err)
			require.Contains(t, line, "The key files of the fallback are not usable")
			m, err := s.Agent.Scrape(ctx)
			require.NoError(t, err)
			require.True(t, m.Has("otelcol_lifeline_flare_ready"))
			require.Zero(t, m.Sum("otelcol_lifeline_flare_ready"))
			post(ctx, s, out, i, 1)
			out.waitAll(ctx, frame.Traces)
		})
	}
}

// TestBrokenBucket: a bucket that does not take flares is an alarm that names
// the key and what to check; what is in the ring stays there, past max_age too,
// and is delivered when the gateway is back.
func TestBrokenBucket(t *testing.T) {
	for _, tc := range []struct {
		name    string
		account s3.Account
		bucket  string
		want    []string
	}{
		{"wrong secret", s3.Account{AccessKeyID: s3.Writer.AccessKeyID, SecretAccessKey: "wrong"}, s3.Bucket, []string{"A flare bucket would not take flares", "flare::buckets", "SignatureDoesNotMatch", "credentials"}},
		{"unknown key", s3.Account{AccessKeyID: "nobody", SecretAccessKey: "wrong"}, s3.Bucket, []string{"A flare bucket would not take flares", "flare::buckets", "InvalidAccessKeyId", "credentials"}},
		{"no right to put", s3.Recovery, s3.Bucket, []string{"The bucket does not take flares", "flare::buckets", "AccessDenied", "right to put"}},
		{"no such bucket", s3.Writer, "no-such-bucket", []string{"A flare bucket would not take flares", "flare::buckets", "NoSuchBucket", "name"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStack(t)
			ctx := env.Within(t, 60*time.Second)
			out := newSink(t, unavailable)
			require.NoError(t, tc.account.WriteFile(s.Path("keys", "s3-broken")))
			agent(s, out, "LIFELINE_MAX_AGE=2s", "LIFELINE_BUCKET="+tc.bucket, "LIFELINE_AGENT_CREDENTIALS="+s.Path("keys", "s3-broken"))
			require.NoError(t, s.Agent.Start(ctx))
			post(ctx, s, out, 0, 3)
			_, err := s.Agent.P.WaitLine(ctx, tc.want...)
			require.NoError(t, err)
			_, err = s.Agent.P.WaitLine(ctx, "The bucket does not take flares") // a PUT was tried
			require.NoError(t, err)
			require.Positive(t, out.heal())
			out.waitAll(ctx, frame.Traces)
		})
	}
}

// TestGatewayThatDoesNotAck: whatever a stranger answers, the agent says what it
// thinks of it, keeps its data, and delivers when the right one is back.
func TestGatewayThatDoesNotAck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		want   []string
	}{
		{"200 with HTML", page(http.StatusOK), []string{"not_an_ack", "text/html"}},
		{"a login page behind a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/login", http.StatusFound)
		}, []string{"not_an_ack", "302"}},
		{"200 with JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"status":"ok"}`)
		}, []string{"not_an_ack", "application/json"}},
		{"a firewall's 400", page(http.StatusBadRequest), []string{"client", "400"}},
		{"503", unavailable, []string{"server", "503"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStack(t)
			ctx := env.Within(t, 60*time.Second)
			out := newSink(t, tc.answer)
			agent(s, out)
			require.NoError(t, s.Agent.Start(ctx))
			post(ctx, s, out, 0, 3)
			_, err := s.Agent.P.WaitLine(ctx, append(tc.want, "The gateway does not take data")...)
			require.NoError(t, err)
			require.Positive(t, out.heal())
			out.waitAll(ctx, frame.Traces)
			_, err = s.Agent.P.WaitLine(ctx, "The gateway takes data.")
			require.NoError(t, err)
		})
	}
}

func unavailable(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
}

// page answers with HTML, as parked domains and firewalls do.
func page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html>this domain is parked</html>")
	}
}

// TestUnknownAudience: a gateway refuses what is meant for another one, and the
// agent keeps it until it reaches the right one.
func TestUnknownAudience(t *testing.T) {
	s := newStack(t)
	ctx := env.Within(t, 60*time.Second)
	s.Agent.Env = append(s.Agent.Env, "LIFELINE_AUDIENCE=other", "LIFELINE_SCRAPE_INTERVAL=1h")
	s.Agent.Configs = append(s.Agent.Configs, quickly)
	require.NoError(t, s.Gateway.Start(ctx))
	require.NoError(t, s.Agent.Start(ctx))
	request := stack.Spans(0, time.Now())
	status, _, err := stack.Post(ctx, s.Addr.AgentHTTP, frame.Traces, request)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	line, err := s.Agent.P.WaitLine(ctx, "The gateway does not take data", "421")
	require.NoError(t, err)
	require.Contains(t, line, "audience")
	require.Zero(t, s.Kafka.HighWater()[0])

	require.NoError(t, s.Gateway.Stop(ctx))
	s.Gateway.Env = append(s.Gateway.Env, "LIFELINE_AUDIENCE=other")
	require.NoError(t, s.Gateway.Start(ctx))
	_, err = s.Agent.P.WaitLine(ctx, "The gateway takes data.")
	require.NoError(t, err)
	require.NoError(t, s.Agent.Stop(ctx)) // which sends all that is left
	records, err := s.Kafka.Read(ctx)
	require.NoError(t, err)
	var got [][]byte
	for _, r := range records {
		if r.Topic == "otlp_spans" {
			got = append(got, r.Value)
		}
	}
	require.Equal(t, [][]byte{request}, got, "the bytes as they came in")
}
