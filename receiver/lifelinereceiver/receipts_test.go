package lifelinereceiver

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	logtest "go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
	"github.com/otel-lifeline/lifeline/internal/status/statustest"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver/internal/metadata"
)

// keyFile writes a key file with one key of the letter c, named by it.
func keyFile(t *testing.T, path string, c byte) *receipt.Keys {
	t.Helper()
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = c
	}
	text := []byte(string(c) + " " + base64.StdEncoding.EncodeToString(secret) + "\n")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	keys, err := receipt.Parse(text)
	require.NoError(t, err)
	return keys
}

func TestReceipts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "receipts")
	old := keyFile(t, path, 'a')
	k := &kafka{script: func(_ context.Context, n int) error {
		if n == 1 {
			return errDown
		}
		return nil
	}}
	g := startPassthrough(t, k, func(c *Config) { c.ReceiptKeyFile, c.Audience = path, "acme-prod" })
	raw := encoded(t, frame.Traces, 3)
	claim := receipt.Claim{Audience: "acme-prod", Signal: frame.Traces, BatchID: rootID + ".1", Length: int64(len(raw))}
	own := []string{frame.HeaderBatchID, rootID + ".1", frame.HeaderAudience, "acme-prod"}

	refused := send(t.Context(), g, "http", raw, own...)
	requireUnavailable(t, refused)
	require.Empty(t, refused.receipt(), "no receipt for what was not written")
	for _, protocol := range protocols {
		for range 2 { // the second time it is remembered, and proven all the same
			r := send(t.Context(), g, protocol, raw, own...)
			require.Equal(t, codes.OK, r.status.Code())
			require.NoError(t, old.Verify(r.receipt(), claim))
		}
		require.Empty(t, send(t.Context(), g, protocol, raw).receipt(), "a bare client gets none")
	}

	r := send(t.Context(), g, "http", gzipped(t, raw), frame.HeaderBatchID, rootID, "Content-Encoding", "gzip")
	require.NoError(t, old.Verify(r.receipt(), receipt.Claim{Signal: frame.Traces, BatchID: rootID, Length: int64(len(raw))}),
		"the length is that of the uncompressed body, the audience that of the request")

	next := keyFile(t, path, 'b')
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	require.NoError(t, g.receipts.check(), "it is looked at now, not within a second")
	r = send(t.Context(), g, "http", raw, own...)
	require.NoError(t, next.Verify(r.receipt(), claim), "the file is read again")
	require.Error(t, old.Verify(r.receipt(), claim))
}

func TestReceiptKeyFileMustBeThere(t *testing.T) {
	cfg := testConfig(func(c *Config) { c.ReceiptKeyFile = filepath.Join(t.TempDir(), "none") })
	r, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, &kafka{})
	require.NoError(t, err)
	require.ErrorContains(t, r.Start(t.Context(), componenttest.NewNopHost()), "receipt_key_file")
	require.NoError(t, r.Shutdown(t.Context()))
}

// A new key file that is broken stops no acks, so no balancer may leave the gateway
// for it. The log and the page say so, until it is good.
func TestBrokenReceiptKeysAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "receipts")
		keys := keyFile(t, path, 'a')
		core, logs := logtest.New(zapcore.InfoLevel)
		g := bubble(t, &kafka{})
		g.receipts = newReceipts(path)
		g.health.log, g.health.receipts = zap.New(core), g.receipts
		host := &statusHost{Host: componenttest.NewNopHost()}
		g.health.troubles.Attach(host)
		g.health.start(g.workers.closing)
		require.NoError(t, g.receipts.check())
		require.NoError(t, os.WriteFile(path, []byte("nonsense"), 0o600))
		time.Sleep(time.Minute)
		synctest.Wait()
		lines := logs.TakeAll()
		require.Len(t, lines, 1)
		require.Equal(t, zapcore.ErrorLevel, lines[0].Level)
		good, err := g.receipts.keys.Get()
		require.NoError(t, err)
		require.Equal(t, keys, good, "the keys from before stay in force")
		problems := statustest.Show(t, g.tables())["problems"]
		require.Equal(t, "receipt keys", problems[0]["of"])
		require.Contains(t, problems[0]["problem"], "receipt_key_file")

		keyFile(t, path, 'b')
		time.Sleep(time.Minute)
		synctest.Wait()
		lines = logs.TakeAll()
		require.Len(t, lines, 1)
		require.Equal(t, "The receipt key file is good again.", lines[0].Message)
		require.Empty(t, statustest.Show(t, g.tables())["problems"])
		require.Empty(t, host.all())
	})
}

// A key file on a filesystem that hangs: answers are proven with the keys from before,
// the page and the watch go on, and Shutdown has an end. Only the first to look waits,
// for a second.
func TestReceiptKeysThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "receipts")
		keys := keyFile(t, path, 'a')
		core, logs := logtest.New(zapcore.InfoLevel)
		k, started, finish := slowKafka()
		g := bubble(t, k)
		g.receipts = newReceipts(path)
		g.health.log, g.health.receipts = zap.New(core), g.receipts
		require.NoError(t, g.receipts.check())
		hangs, release := make(chan struct{}, 1), make(chan struct{})
		g.receipts.keys.Read = func() (*receipt.Keys, error) {
			hangs <- struct{}{}
			<-release
			return keys, nil
		}
		keyFile(t, path, 'b')
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
		g.health.start(g.workers.closing)
		own := &request{signal: frame.Traces, header: func(name string) []string {
			return map[string][]string{frame.HeaderBatchID: {rootID}}[name]
		}}
		prove := func() time.Duration {
			began := time.Now()
			require.NoError(t, keys.Verify(g.receipts.proof(own, job{size: 7}), receipt.Claim{Signal: frame.Traces, BatchID: rootID, Length: 7}))
			return time.Since(began)
		}
		require.Zero(t, prove(), "the last look is recent")
		require.Empty(t, hangs)
		time.Sleep(time.Second)
		require.Equal(t, time.Second, prove())
		<-hangs
		require.Zero(t, prove())

		background(t, func() { _ = ask(t.Context(), g, encoded(t, frame.Traces, 3), nil, nil) })
		<-started
		time.Sleep(g.cfg.AckTimeout * 5 / 4)
		synctest.Wait()
		require.Zero(t, prove())
		problems := statustest.Show(t, g.tables())["problems"]
		require.Len(t, problems, 2)
		require.Contains(t, problems[0]["problem"], "longer than ack_timeout", "the watch goes on")
		require.Contains(t, problems[1]["problem"], "receipt_key_file: no answer while reading "+path)
		require.Len(t, logs.TakeAll(), 2, "each is said once")
		finish <- nil

		began := time.Now()
		require.NoError(t, g.Shutdown(context.Background()))
		require.Zero(t, time.Since(began))
		require.Empty(t, hangs, "one look at a time")
		close(release)
	})
}
