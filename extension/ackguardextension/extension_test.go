package ackguardextension

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/configkafka"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-lifeline/lifeline/extension/ackguardextension/internal/metadata"
	"github.com/otel-lifeline/lifeline/internal/ackrules"
	"github.com/otel-lifeline/lifeline/internal/collectorconf"
)

// snapshot is the shipped gateway as the Collector would show it, as far as it
// matters here: the queue, which is off, is a key with nothing behind it.
func snapshot(t *testing.T, changes ...string) extensioncapabilities.ConfigSnapshot {
	t.Helper()
	sources := []string{filepath.Join("..", "..", "testdata", "configs", "gateway.yaml"), "yaml:exporters::kafka::sending_queue: null"}
	for _, c := range changes {
		sources = append(sources, "yaml:"+c)
	}
	conf, err := collectorconf.Load(t.Context(), sources)
	require.NoError(t, err)
	return extensioncapabilities.NewConfigSnapshot(conf, nil)
}

func newTestGuard(t *testing.T, mode string) (*guard, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	set := extensiontest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(core)
	g := newGuard(set, &Config{Mode: mode})
	g.ask = func(context.Context, *ackrules.Target) ([]topicInfo, error) { return nil, nil }
	require.NoError(t, g.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { require.NoError(t, g.Shutdown(context.Background())) })
	return g, logs
}

func TestEnforce(t *testing.T) {
	g, _ := newTestGuard(t, modeEnforce)
	require.NoError(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t)))
	err := g.NotifyConfigSnapshot(t.Context(), snapshot(t, "exporters::kafka::producer: {required_acks: 0, allow_auto_topic_creation: true}"))
	require.ErrorContains(t, err, "\nexporters::kafka::producer::required_acks: ")
	require.ErrorContains(t, err, "\nexporters::kafka::producer::allow_auto_topic_creation: ")
	require.ErrorContains(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t, "exporters::kafka::timeout: soon")), "cannot be checked")

	g.build = &debug.BuildInfo{Deps: []*debug.Module{{Path: "github.com/twmb/franz-go", Version: "v1.21.6"}}}
	require.ErrorContains(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t)), "franz-go v1.21.6")
}

func TestWarn(t *testing.T) {
	g, logs := newTestGuard(t, modeWarn)
	require.NoError(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t, "exporters::kafka::producer: {required_acks: 0, allow_auto_topic_creation: true}")))
	require.Equal(t, 2, logs.FilterLevelExact(zap.WarnLevel).Len())
	require.NoError(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t, "exporters::kafka::timeout: soon")))
	require.Equal(t, 3, logs.FilterLevelExact(zap.WarnLevel).Len())
}

// TestAsksNowAndAgain: what the brokers say is logged once when it is new and
// once when it is gone, and an answer that never comes ends with the Collector.
func TestAsksNowAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := newTestGuard(t, modeEnforce)
		var asked atomic.Int32
		var up atomic.Bool
		g.ask = func(ctx context.Context, target *ackrules.Target) ([]topicInfo, error) {
			asked.Add(1)
			require.Equal(t, "kafka", target.Exporter.String())
			if !up.Load() {
				return nil, errors.New("connection refused")
			}
			return []topicInfo{{name: "otlp_spans", err: kerr.UnknownTopicOrPartition}}, nil
		}
		require.NoError(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t)))
		require.Zero(t, asked.Load(), "nothing before the pipelines run")
		require.NoError(t, g.Ready())
		require.NoError(t, g.Ready(), "a second time starts nothing")
		synctest.Wait()
		require.EqualValues(t, 1, asked.Load())
		require.Equal(t, 1, logs.FilterMessageSnippet("could not be asked").Len())
		time.Sleep(askInterval)
		synctest.Wait()
		require.EqualValues(t, 2, asked.Load())
		require.Equal(t, 1, logs.FilterMessageSnippet("could not be asked").Len(), "it is no news")

		up.Store(true)
		time.Sleep(askInterval)
		synctest.Wait()
		require.Equal(t, 1, logs.FilterMessageSnippet("exporters::kafka::topic otlp_spans: it does not exist").Len())
		require.Equal(t, 1, logs.FilterMessageSnippet("No longer so: exporters::kafka::brokers").Len())

		up.Store(false)
		time.Sleep(askInterval)
		synctest.Wait()
		require.Equal(t, 2, logs.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("could not be asked").Len(), "it is news again")
		require.Zero(t, logs.FilterMessageSnippet("No longer so: exporters::kafka::topic").Len(), "nobody said so")
		require.NoError(t, g.NotReady())
		require.NoError(t, g.Shutdown(t.Context()))
		time.Sleep(time.Hour)
		require.EqualValues(t, 4, asked.Load())
		require.NoError(t, g.Ready(), "after Shutdown nothing starts")
		synctest.Wait()
		require.EqualValues(t, 4, asked.Load())
	})
}

func TestShutdownDoesNotWaitForBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, logs := newTestGuard(t, modeEnforce)
		hung := 0
		g.ask = func(ctx context.Context, _ *ackrules.Target) ([]topicInfo, error) {
			hung++
			<-ctx.Done()
			return nil, ctx.Err()
		}
		require.NoError(t, g.NotifyConfigSnapshot(t.Context(), snapshot(t)))
		require.NoError(t, g.Ready())
		time.Sleep(askTimeout)
		synctest.Wait()
		require.Equal(t, 1, logs.FilterMessageSnippet("no answer within 15s").Len())
		time.Sleep(askInterval - askTimeout + time.Second)
		synctest.Wait()
		require.Equal(t, 2, hung)
		before := time.Now()
		require.NoError(t, g.Shutdown(t.Context()))
		require.Zero(t, time.Since(before))
		require.Equal(t, 1, logs.Len(), "an answer cut off is no finding")
	})
}

// TestBrokerThatHangs: the real client gives up when it is told to and leaves
// nothing behind. (The package's tests end with a look for goroutines.)
func TestBrokerThatHangs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var accepted sync.WaitGroup
	accepted.Go(func() {
		conn, err := listener.Accept()
		if err == nil {
			cancel() // it has connected, and gets no answer
			_ = conn.Close()
		}
	})
	_, err = ask(ctx, &ackrules.Target{
		Exporter: component.MustNewID("kafka"), Topics: map[string]bool{"t": true},
		Client: configkafka.ClientConfig{Brokers: []string{listener.Addr().String()}},
	})
	require.Error(t, err)
	accepted.Wait()
}

func TestClientOptions(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  configkafka.ClientConfig
		want string // of the error; "": none
	}{
		{"plain text", configkafka.ClientConfig{}, ""},
		{"tls", configkafka.ClientConfig{TLS: &configtls.ClientConfig{}}, ""},
		{"no such file", configkafka.ClientConfig{TLS: &configtls.ClientConfig{Config: configtls.Config{CAFile: "nowhere.pem"}}}, "tls: "},
		{"redacted", configkafka.ClientConfig{TLS: &configtls.ClientConfig{Config: configtls.Config{CAPem: "[REDACTED]"}}}, "tls: the Collector shows"},
		{"plain", withSASL("PLAIN"), ""},
		{"scram 256", withSASL("SCRAM-SHA-256"), ""},
		{"scram 512", withSASL("SCRAM-SHA-512"), ""},
		{"another", withSASL("OAUTHBEARER"), "auth::sasl::mechanism: ack_guard does not speak OAUTHBEARER"},
		{"old plain", configkafka.ClientConfig{Authentication: configkafka.AuthenticationConfig{PlainText: &configkafka.PlainTextConfig{}}}, ""},
		{"kerberos", configkafka.ClientConfig{Authentication: configkafka.AuthenticationConfig{Kerberos: &configkafka.KerberosConfig{}}}, "auth::kerberos"},
	} {
		opts, err := clientOptions(t.Context(), &tc.cfg)
		if tc.want != "" {
			require.ErrorContains(t, err, tc.want, tc.name)
			continue
		}
		require.NoError(t, err, tc.name)
		require.NotEmpty(t, opts, tc.name)
	}
}

func withSASL(mechanism string) configkafka.ClientConfig {
	return configkafka.ClientConfig{Authentication: configkafka.AuthenticationConfig{
		SASL: &configkafka.SASLConfig{Mechanism: mechanism, Username: "u", Password: "p"},
	}}
}
