package ackrules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/kafka/configkafka"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pipeline"

	"github.com/otel-lifeline/lifeline/receiver/lifelinereceiver"
)

// Target is a Kafka exporter that acks depend on, and the topics it writes.
type Target struct {
	Exporter        component.ID
	Client          configkafka.ClientConfig
	MaxMessageBytes int             // of the producer, uncompressed
	Topics          map[string]bool // true: must be there; false: only if somebody sends its signal
}

// Check returns one line for everything that would make an ack untrue, or its data
// unusable; none if the configuration is sound. And it returns the exporters that
// acks depend on, by name. allow names further components, by type or by id, that
// the operator knows to return only when the next one has.
func (g *Gateway) Check(allow []string) (faults []string, targets []Target) {
	if !g.Guarded() {
		return []string{"service::extensions: ack_guard looks after the acks of lifeline receivers, and no pipeline has one: remove it"}, nil
	}
	c := &checker{gateway: g, allow: allow, topics: map[component.ID]map[string]bool{}}
	for _, id := range sorted(g.pipelines) {
		for _, name := range g.pipelines[id].Receivers {
			cfg := g.receivers[name]
			if cfg == nil {
				continue
			}
			c.add(receiverFaults(name, cfg)...)
			r := &route{receiver: name, cfg: cfg, inKafka: map[pipeline.ID]bool{}}
			switch {
			case cfg.Passthrough.ToLifeline():
				c.toLifeline(r, id)
			case !c.walk(r, id):
				c.add(fmt.Sprintf("service::pipelines::%s::exporters: an ack of receivers::%s would not mean that Kafka has the data: add a kafka exporter", id, name))
			}
		}
	}
	for _, name := range sorted(c.topics) {
		cfg := g.kafka[name]
		targets = append(targets, Target{name, cfg.ClientConfig, cfg.Producer.MaxMessageBytes, c.topics[name]})
	}
	return c.faults, targets
}

// checker collects what is found in one gateway.
type checker struct {
	gateway *Gateway
	allow   []string
	faults  []string
	topics  map[component.ID]map[string]bool // by exporter, as in Target
}

// route is the way from one receiver through the pipelines.
type route struct {
	receiver component.ID
	cfg      *lifelinereceiver.Config
	inKafka  map[pipeline.ID]bool // what walk returned for the pipelines it has been in
}

// add adds faults that are not known yet: two ways may pass the same one.
func (c *checker) add(faults ...string) {
	for _, f := range faults {
		if !slices.Contains(c.faults, f) {
			c.faults = append(c.faults, f)
		}
	}
}

// walk checks a pipeline and everything behind it. It reports whether data that
// enters the pipeline is in Kafka when the pipeline returns success. Several
// exporters are called one after the other, and success is the success of all:
// one that leads to Kafka is enough for a true ack, and each of the others can
// only turn it into an error.
func (c *checker) walk(r *route, id pipeline.ID) bool {
	if known, ok := r.inKafka[id]; ok {
		return known
	}
	r.inKafka[id] = false // if it leads back to itself
	p := c.gateway.pipelines[id]
	for _, name := range p.Processors {
		c.add(c.processor(r, id, name)...)
	}
	inKafka := false
	for _, name := range p.Exporters {
		switch {
		case c.gateway.connectors[name]:
			inKafka = c.connector(r, id, name) || inKafka
		case c.gateway.kafka[name] != nil:
			inKafka = true
			c.target(r, name, id.Signal())
			c.add(kafkaFaults(r, name, c.gateway.kafka[name], id.Signal())...)
		default:
			c.add(c.exporter(id, name)...)
		}
	}
	r.inKafka[id] = inKafka
	return inKafka
}

// target notes the topics that an exporter writes for data of a receiver.
func (c *checker) target(r *route, name component.ID, signal pipeline.Signal) {
	topics := c.topics[name]
	if topics == nil {
		topics = map[string]bool{}
		c.topics[name] = topics
	}
	cfg, pass := c.gateway.kafka[name], r.cfg.Passthrough
	switch {
	case pass.Enabled:
		topics[pass.TracesTopic], topics[pass.MetricsTopic], topics[pass.LogsTopic] = true, true, true
		if !topics[pass.ProfilesTopic] {
			topics[pass.ProfilesTopic] = false
		}
	case signal == pipeline.SignalTraces:
		topics[cfg.Traces.Topic] = true
	case signal == pipeline.SignalMetrics:
		topics[cfg.Metrics.Topic] = true
	case signal == pipeline.SignalLogs:
		topics[cfg.Logs.Topic] = true
	}
}

// connector checks a connector and what is behind it. Only forward is known to
// hand everything to every pipeline; another one may choose, so that all of its
// pipelines must lead to Kafka.
func (c *checker) connector(r *route, from pipeline.ID, name component.ID) bool {
	if !c.allowed(name, connectors) {
		c.add(fmt.Sprintf("service::pipelines::%s::exporters: connector %s is not known to return only when the pipelines behind it have: remove it, or add %s to allow of ack_guard if it does", from, name, name))
	}
	some, all := false, true
	for _, id := range sorted(c.gateway.pipelines) {
		if !slices.Contains(c.gateway.pipelines[id].Receivers, name) {
			continue
		}
		inKafka := c.walk(r, id)
		some, all = some || inKafka, all && inKafka
	}
	return some && (all || name.Type().String() == "forward")
}

func (c *checker) processor(r *route, in pipeline.ID, name component.ID) []string {
	at := fmt.Sprintf("service::pipelines::%s::processors: ", in)
	switch {
	case name.Type().String() == "batch":
		return []string{at + fmt.Sprintf("%s answers before Kafka has the data: remove it; requests are joined by the agents and by the kafka exporter", name)}
	case c.allowed(name, untouching):
		return nil
	case r.cfg.Passthrough.Enabled:
		return []string{at + fmt.Sprintf("%s would meet whole requests as bytes, and may drop or change one: remove it, or set receivers::%s::passthrough::enabled to false", name, r.receiver)}
	case c.allowed(name, processors):
		return nil
	}
	return []string{at + fmt.Sprintf("%s is not known to return only when the next component has: remove it, or add %s to allow of ack_guard if it does", name, name)}
}

func (c *checker) exporter(in pipeline.ID, name component.ID) []string {
	if c.allowed(name, exporters) {
		return nil
	}
	return []string{fmt.Sprintf("service::pipelines::%s::exporters: %s is not known to return only when the data is safe, and its errors would hold up every ack: "+
		"put it behind Kafka, or add %s to allow of ack_guard", in, name, name)}
}

func (c *checker) allowed(id component.ID, known []string) bool {
	return slices.Contains(known, id.Type().String()) ||
		slices.Contains(c.allow, id.String()) || slices.Contains(c.allow, id.Type().String())
}

// sorted returns the keys of a map in the order of their names.
func sorted[K interface {
	comparable
	fmt.Stringer
}, V any](m map[K]V) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Compare(a.String(), b.String()) })
}
