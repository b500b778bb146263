package ackrules

import (
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pipeline"
)

// toLifeline checks a pipeline of an agent, whose receiver lends the bytes of
// requests to lifeline exporters: an ack means that the ring has them. Nothing
// may stand between, and nobody else can read what goes through the pipeline.
func (c *checker) toLifeline(r *route, id pipeline.ID) {
	at := fmt.Sprintf("service::pipelines::%s::", id)
	p := c.gateway.pipelines[id]
	for _, name := range p.Processors {
		if name.Type().String() == "batch" || !c.allowed(name, untouching) {
			c.add(at + fmt.Sprintf("processors: %s stands between receivers::%s in passthrough and the lifeline exporter, and would meet no telemetry: remove it, or use the otlp receiver", name, r.receiver))
		}
	}
	for _, name := range p.Exporters {
		keys, ok := c.gateway.lifeline[name]
		if !ok {
			c.add(at + fmt.Sprintf("exporters: %s cannot read what receivers::%s passes through to lifeline: remove it, or use the otlp receiver", name, r.receiver))
			continue
		}
		c.add(metadataFaults(r, name, keys)...)
	}
}

// metadataFaults names the keys by which an exporter is to keep telemetry apart
// and which the receiver drops.
func metadataFaults(r *route, exporter component.ID, keys []string) []string {
	missing := slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		return slices.ContainsFunc(r.cfg.MetadataKeys, func(handed string) bool { return strings.EqualFold(handed, key) })
	})
	if len(missing) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("receivers::%s::metadata_keys: without %s what exporters::%s is to keep apart is mixed: add what is missing", r.receiver, strings.Join(missing, ", "), exporter)}
}
