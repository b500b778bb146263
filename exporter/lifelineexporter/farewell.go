package lifelineexporter

import (
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/delivery"
	"github.com/otel-lifeline/lifeline/internal/frame"
)

// farewell closes the ledger of every signal that has one: the last scrape is
// older than what Shutdown did, and a logger may leave out some of many lines
// about flares.
func farewell(log *zap.Logger, s delivery.Snapshot) {
	for signal, items := range s.Signals {
		if items.Accepted == 0 {
			continue
		}
		var flared, lost int64
		for _, n := range items.Flared {
			flared += n
		}
		for _, n := range items.Lost {
			lost += n
		}
		log.Info("The exporter has stopped. This became of all items that it accepted.",
			zap.Stringer("signal", frame.Signal(signal)), zap.Int64("accepted", items.Accepted),
			zap.Int64("delivered", items.Delivered), zap.Int64("flared", flared), zap.Int64("rejected", items.Rejected),
			zap.Int64("lost", lost), zap.Int64("held", items.Held))
	}
}
