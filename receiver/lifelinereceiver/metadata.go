package lifelinereceiver

import (
	"encoding/hex"
	"maps"
	"strconv"

	"go.opentelemetry.io/collector/client"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// clientMetadata builds what the pipeline learns about a request. It starts
// from nothing: whatever a client sends and this function does not name, no
// exporter sees, so that no client can choose its topic or its name. sum is of
// the request as uncompressed protobuf. The lifeline exporter makes frames of its
// own and wants nothing but metadata_keys.
func (g *gateway) clientMetadata(r *request, info client.Info, sum digest) map[string][]string {
	md := map[string][]string{}
	for _, key := range g.cfg.MetadataKeys {
		if values := r.header(key); len(values) > 0 {
			md[key] = values
		}
	}
	if g.cfg.Passthrough.ToLifeline() {
		return md
	}
	if id, ok := r.batchID(); ok {
		md[frame.HeaderBatchID], md[frame.HeaderBatchRoot] = []string{string(id)}, []string{string(id.Root())}
	} else {
		id := []string{"h:" + hex.EncodeToString(sum[:])}
		md[frame.HeaderBatchID], md[frame.HeaderBatchRoot] = id, id
	}
	if text := r.one(frame.HeaderFrame); text != "" {
		if _, err := frame.ParseHeader(text); err == nil {
			md[frame.HeaderFrame] = []string{text}
		}
	}
	agent := g.agent(r, info)
	if frame.ValidAgent(agent) {
		md[frame.HeaderAgent] = []string{agent}
	}
	if id := r.one(frame.HeaderFlareID); g.cfg.TrustFlareHeaders && frame.IsHex32(id) {
		md[frame.HeaderFlareID] = []string{id}
	}
	return md
}

// agent returns the name of the sender: a verified one, or none. The listener
// of recovery takes it as sent, for recovery has verified it.
func (g *gateway) agent(r *request, info client.Info) string {
	if g.cfg.TrustFlareHeaders {
		return r.one(frame.HeaderAgent)
	}
	if info.Auth != nil {
		for _, attribute := range []string{"subject", "username"} {
			if name, ok := info.Auth.GetAttribute(attribute).(string); ok && name != "" {
				return name
			}
		}
	}
	if r.cert != nil {
		return r.cert.Subject.CommonName
	}
	return ""
}

// withPart returns md for part k of n, k from 1.
func withPart(md map[string][]string, k, n int) map[string][]string {
	if n == 1 {
		return md
	}
	part := maps.Clone(md)
	part[frame.HeaderPart] = []string{strconv.Itoa(k) + "/" + strconv.Itoa(n)}
	return part
}
