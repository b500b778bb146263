package lifelinereceiver

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// health tells whoever runs the gateway what is wrong with it, in the log and in
// the status of the component.
type health struct {
	// Set before start, then read-only.
	cfg      *Config
	log      *zap.Logger
	inflight *inflight.Registry
	receipts *receipts // nil: no receipts

	troubles trouble.List   // that make the gateway no use to its clients
	worries  trouble.List   // that do not: no host is told, or a load balancer would leave it
	watching sync.WaitGroup // the watch, until start's closing is closed
}

// start begins to watch, until closing is closed.
func (h *health) start(closing <-chan struct{}) {
	h.watching.Go(func() { h.watch(closing) })
}

// watch reports the gateway as not ready while a write has been going on for
// longer than ack_timeout: whoever sends to it now gets no ack in time. It also
// looks at the key file, and at buffers that are not used.
func (h *health) watch(closing <-chan struct{}) {
	tick := time.NewTicker(h.cfg.AckTimeout / 8)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-closing:
			return
		}
		large.age()
		h.checkReceipts()
		h.checkWrites()
	}
}

// checkWrites says when a write begins to take too long, and when none does any more.
func (h *health) checkWrites() {
	const what = "writes"
	oldest := h.inflight.OldestWrite()
	late := oldest > h.cfg.AckTimeout
	if late == h.troubles.Wrong(what) {
		return
	}
	if !late {
		h.troubles.Set(what, nil)
		h.log.Info("The pipeline finishes its writes in time again.")
		return
	}
	err := fmt.Errorf("a write has been going on for %s, longer than ack_timeout: look at the brokers", oldest.Round(time.Second))
	h.troubles.Set(what, err)
	h.log.Error("The pipeline does not finish its writes. Clients keep their data and try again.", zap.Error(err))
}

// checkReceipts says what is wrong with the key file, once for every change of it.
func (h *health) checkReceipts() {
	err := h.receipts.check()
	switch {
	case !h.worries.Set("receipt keys", err):
	case err != nil:
		h.log.Error("The new receipt key file cannot be used: receipts are made with the keys from before it. "+
			"Put a good one in its place; `lifeline keygen receipt` makes one.", zap.Error(err))
	default:
		h.log.Info("The receipt key file is good again.")
	}
}

// explain logs what nobody else explains of a failed write: the two errors of Kafka
// that do not heal by trying again, a pipeline that cannot work, and a panic.
func (h *health) explain(s frame.Signal, err error) {
	topic := zap.String("topic", h.cfg.Passthrough.topic(s))
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		h.log.Error("The broker refuses a batch as too large. Raise the topic's max.message.bytes, "+
			"or lower passthrough::max_message_bytes and the exporter's producer::max_message_bytes.",
			topic, zap.Stringer("max_message_bytes", h.cfg.Passthrough.MaxMessageBytes), zap.Error(err))
	case errors.Is(err, kerr.UnknownTopicID):
		h.log.Error("The topic was deleted and made again. This process cannot write to it any more: restart it.",
			topic, zap.Error(err))
		h.troubles.Fail("topic of "+s.String(), err)
	case errors.Is(err, passthrough.ErrBetween):
		h.log.Error("The lifeline exporter did not get what this receiver took. Clients keep their data and try again.", zap.Error(err))
	case errors.Is(err, errPanic):
		h.log.Error("The pipeline behind the receiver panicked. The client keeps its data and tries again.", zap.Error(err))
	}
}
