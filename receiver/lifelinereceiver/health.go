package lifelinereceiver

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/inflight"
	"github.com/otel-lifeline/lifeline/internal/passthrough"
)

// health tells whoever runs the gateway what is wrong with it, in the log and in
// the status of the component.
type health struct {
	// Set before start, then read-only.
	cfg      *Config
	log      *zap.Logger
	inflight *inflight.Registry
	receipts *receipts // nil: no receipts

	// Owned by start, and read-only after it.
	host     component.Host
	watching sync.WaitGroup // the watch, until start's closing is closed
}

// start begins to watch, until closing is closed.
func (h *health) start(host component.Host, closing <-chan struct{}) {
	h.host = host
	h.watching.Go(func() { h.watch(closing) })
}

// watch reports the gateway as not ready while a write has been going on for
// longer than ack_timeout: whoever sends to it now gets no ack in time. It also
// looks at the key file, and at buffers that are not used.
func (h *health) watch(closing <-chan struct{}) {
	tick := time.NewTicker(h.cfg.AckTimeout / 8)
	defer tick.Stop()
	stuck, receipts := false, ""
	for {
		select {
		case <-tick.C:
		case <-closing:
			return
		}
		large.age()
		receipts = h.checkReceipts(receipts)
		oldest := h.inflight.OldestWrite()
		if late := oldest > h.cfg.AckTimeout; late == stuck {
			continue
		}
		stuck = !stuck
		if !stuck {
			h.log.Info("The pipeline finishes its writes in time again.")
			componentstatus.ReportStatus(h.host, componentstatus.NewEvent(componentstatus.StatusOK))
			continue
		}
		err := fmt.Errorf("a write has been going on for %s, longer than ack_timeout: look at the brokers", oldest.Round(time.Second))
		h.log.Error("The pipeline does not finish its writes. Clients keep their data and try again.", zap.Error(err))
		componentstatus.ReportStatus(h.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// checkReceipts logs what is wrong with the key file, once for every change of it,
// and returns that for the next call.
func (h *health) checkReceipts(before string) string {
	err := h.receipts.check()
	if err == nil {
		return ""
	}
	if err.Error() != before {
		h.log.Error("The new receipt key file cannot be used: receipts are made with the keys from before it. "+
			"Put a good one in its place; `lifeline keygen receipt` makes one.", zap.Error(err))
	}
	return err.Error()
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
		componentstatus.ReportStatus(h.host, componentstatus.NewPermanentErrorEvent(err))
	case errors.Is(err, passthrough.ErrBetween):
		h.log.Error("The lifeline exporter did not get what this receiver took. Clients keep their data and try again.", zap.Error(err))
	case errors.Is(err, errPanic):
		h.log.Error("The pipeline behind the receiver panicked. The client keeps its data and tries again.", zap.Error(err))
	}
}
