package recovery

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/otel-lifeline/lifeline/internal/flare"
	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpsend"
)

// Gateway is where records go, and how. Transport, Timeout and MaxRate are
// required.
type Gateway struct {
	Transport    otlpsend.Transport
	Timeout      time.Duration // one attempt
	Audience     string        // sent with every record
	TenantHeader string        // header that carries the principal's tenant; "" for none
	MaxRate      int64         // stored bytes per second
	Senders      int           // records on their way at the same time; 0: one
}

// hyphens spells a header's name as servers do that hand it on as a variable.
var hyphens = strings.NewReplacer("_", "-", ".", "-")

// send makes one attempt with a record of a flare. The stored bytes go out as they
// are.
func (g *Gateway) send(ctx context.Context, of marker, r record) otlpsend.Answer {
	ctx, cancel := context.WithTimeout(ctx, g.Timeout)
	defer cancel()
	return g.Transport.Send(ctx, g.request(of, r))
}

func (g *Gateway) request(of marker, r record) *otlpsend.Request {
	h := map[string]string{
		frame.HeaderBatchID: string(r.BatchID),
		frame.HeaderFrame:   r.text,
		frame.HeaderFlareID: of.FlareID,
		frame.HeaderAgent:   of.Principal,
		frame.HeaderSize:    strconv.FormatInt(r.RawSize, 10),
	}
	if g.Audience != "" {
		h[frame.HeaderAudience] = g.Audience
	}
	meta := r.Meta
	if g.TenantHeader != "" {
		meta = maps.Clone(meta)
		if meta == nil {
			meta = map[string][]string{}
		}
		// Last, so that no agent can pass for another tenant, in no spelling that a
		// server takes for the same.
		tenant := strings.ToLower(g.TenantHeader)
		spelled := hyphens.Replace(tenant)
		maps.DeleteFunc(meta, func(key string, _ []string) bool { return hyphens.Replace(key) == spelled })
		meta[tenant] = []string{flare.Tenant(of.Principal)}
	}
	return &otlpsend.Request{Signal: r.Signal, Body: r.Stored, RawSize: r.RawSize, Header: h, Meta: meta}
}
