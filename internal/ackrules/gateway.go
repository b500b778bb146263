// Package ackrules knows which configurations make an ack true: a gateway answers
// success only when Kafka has the data, an agent that passes requests through
// when its ring has them. It reads the configuration of a whole Collector and says
// every fault in one line, which names the key and the remedy. ack_guard refuses a
// start with it, `lifeline check` asks it offline.
//
// It opens no file and no connection, and has no goroutines.
package ackrules

import (
	"slices"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-lifeline/lifeline/internal/collectorconf"
	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver"
)

// Gateway is what the rules look at. It is not changed after it was read.
type Gateway struct {
	receivers  map[component.ID]*lifelinereceiver.Config // of type lifeline
	kafka      map[component.ID]*kafkaexporter.Config    // exporters of type kafka
	lifeline   map[component.ID][]string                 // exporters of type lifeline: their metadata_keys
	connectors map[component.ID]bool
	pipelines  map[pipeline.ID]pipelineConfig
}

type pipelineConfig struct {
	Receivers  []component.ID `mapstructure:"receivers"`
	Processors []component.ID `mapstructure:"processors"`
	Exporters  []component.ID `mapstructure:"exporters"`
}

// form is how a configuration is written.
type form int

const (
	// file: as a person wrote it. A key with nothing behind it takes its default.
	file form = iota
	// effective: as the Collector shows it. A queue that is off is a key with
	// nothing behind it, and one that is on shows its settings.
	effective
)

var (
	receiverFactory = lifelinereceiver.NewFactory()
	kafkaFactory    = kafkaexporter.NewFactory()
)

// FromFile reads a configuration as it is written in files, merged and with its
// references resolved.
func FromFile(conf *confmap.Conf) (*Gateway, error) { return read(conf, file) }

// FromEffective reads a configuration as the Collector hands it to extensions.
func FromEffective(conf *confmap.Conf) (*Gateway, error) { return read(conf, effective) }

// Guarded reports whether there is a lifeline receiver in any pipeline. Without
// one there is no ack to look after.
func (g *Gateway) Guarded() bool {
	for _, p := range g.pipelines {
		if slices.ContainsFunc(p.Receivers, func(id component.ID) bool { return g.receivers[id] != nil }) {
			return true
		}
	}
	return false
}

func read(conf *confmap.Conf, as form) (*Gateway, error) {
	g := &Gateway{
		receivers: map[component.ID]*lifelinereceiver.Config{}, kafka: map[component.ID]*kafkaexporter.Config{},
		lifeline: map[component.ID][]string{}, connectors: map[component.ID]bool{},
	}
	err := collectorconf.Each(conf, "receivers", receiverFactory.Type(), func(id component.ID, sub *confmap.Conf) error {
		cfg := receiverFactory.CreateDefaultConfig().(*lifelinereceiver.Config)
		g.receivers[id] = cfg
		return sub.Unmarshal(cfg)
	})
	if err != nil {
		return nil, err
	}
	err = collectorconf.Each(conf, "exporters", kafkaFactory.Type(), func(id component.ID, sub *confmap.Conf) error {
		cfg := kafkaFactory.CreateDefaultConfig().(*kafkaexporter.Config)
		if as == effective {
			cfg.QueueBatchConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
		}
		g.kafka[id] = cfg
		return sub.Unmarshal(cfg)
	})
	if err != nil {
		return nil, err
	}
	err = collectorconf.Each(conf, "exporters", receiverFactory.Type(), func(id component.ID, sub *confmap.Conf) error {
		var cfg struct {
			MetadataKeys []string `mapstructure:"metadata_keys"`
		}
		err := sub.Unmarshal(&cfg, confmap.WithIgnoreUnused())
		g.lifeline[id] = cfg.MetadataKeys
		return err
	})
	if err != nil {
		return nil, err
	}
	var rest struct {
		Connectors map[component.ID]any `mapstructure:"connectors"`
		Service    struct {
			Pipelines map[pipeline.ID]pipelineConfig `mapstructure:"pipelines"`
		} `mapstructure:"service"`
	}
	if err := conf.Unmarshal(&rest, confmap.WithIgnoreUnused()); err != nil {
		return nil, err
	}
	for id := range rest.Connectors {
		g.connectors[id] = true
	}
	g.pipelines = rest.Service.Pipelines
	return g, nil
}
