package ackguardextension

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/configkafka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/otel-lifeline/lifeline/internal/ackrules"
)

// ask asks the brokers of an exporter about its topics, over a connection of its
// own that is closed again. It changes nothing there and creates no topic.
func ask(ctx context.Context, t *ackrules.Target) ([]topicInfo, error) {
	opts, err := clientOptions(ctx, &t.Client)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	names := slices.Sorted(maps.Keys(t.Topics))
	details, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, err
	}
	var topics []topicInfo
	var there []string
	for _, name := range names {
		topic := topicInfo{name: name, err: details[name].Err, settings: map[string]string{}}
		if topic.err == nil {
			topic.replicas = replicas(details[name].Partitions)
			there = append(there, name)
		}
		topics = append(topics, topic)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, there...)
	if err != nil {
		return nil, err
	}
	for i := range topics {
		if topics[i].err == nil {
			topics[i].take(configs)
		}
	}
	return topics, nil
}

// replicas returns the smallest number of replicas of a partition.
func replicas(partitions kadm.PartitionDetails) int {
	least := -1
	for _, p := range partitions {
		if n := len(p.Replicas); least < 0 || n < least {
			least = n
		}
	}
	return max(least, 0)
}

// take picks the settings of the topic.
func (t *topicInfo) take(all kadm.ResourceConfigs) {
	own, err := all.On(t.name, nil)
	if err == nil {
		err = own.Err
	}
	if err != nil {
		t.settingsErr = err
		return
	}
	for _, c := range own.Configs {
		if c.Value != nil {
			t.settings[c.Key] = *c.Value
		}
	}
}

// clientOptions connects as the exporter does.
func clientOptions(ctx context.Context, cfg *configkafka.ClientConfig) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(cfg.Brokers...), kgo.ClientID(cfg.ClientID), kgo.DisableClientMetrics()}
	secure := cfg.TLS
	if secure == nil {
		secure = cfg.Authentication.TLS // deprecated, and still taken by the exporter
	}
	if secure != nil {
		if secure.CAPem != "" || secure.CertPem != "" || secure.KeyPem != "" {
			return nil, errors.New("tls: the Collector shows ca_pem, cert_pem and key_pem to nobody; use ca_file, cert_file and key_file")
		}
		loaded, err := secure.LoadTLSConfig(ctx)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		if loaded != nil {
			opts = append(opts, kgo.DialTLSConfig(loaded))
		}
	}
	mechanism, err := mechanism(&cfg.Authentication)
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

// mechanism returns how the exporter proves who it is, nil if it does not.
func mechanism(cfg *configkafka.AuthenticationConfig) (sasl.Mechanism, error) {
	if p := cfg.PlainText; p != nil {
		return plain.Auth{User: p.Username, Pass: p.Password}.AsMechanism(), nil
	}
	if cfg.Kerberos != nil {
		return nil, errors.New("auth::kerberos: ack_guard does not speak it; look at the topics by hand")
	}
	if cfg.SASL == nil {
		return nil, nil //nolint:nilnil // no mechanism is no error
	}
	user, pass := cfg.SASL.Username, cfg.SASL.Password
	switch cfg.SASL.Mechanism {
	case "PLAIN":
		return plain.Auth{User: user, Pass: pass}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: pass}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: pass}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("auth::sasl::mechanism: ack_guard does not speak %s; look at the topics by hand", cfg.SASL.Mechanism)
}

func missing(err error) bool { return errors.Is(err, kerr.UnknownTopicOrPartition) }
