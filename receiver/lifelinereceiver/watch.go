package lifelinereceiver

import (
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
)

// watch reports the gateway as not ready while a write has been going on for
// longer than ack_timeout: whoever sends to it now gets no ack in time. It also
// looks at the key file, and at buffers that are not used. It ends when stop is closed.
func (g *gateway) watch() {
	tick := time.NewTicker(g.cfg.AckTimeout / 8)
	defer tick.Stop()
	stuck, receipts := false, ""
	for {
		select {
		case <-tick.C:
		case <-g.stop:
			return
		}
		large.age()
		receipts = g.watchReceipts(receipts)
		oldest := g.inflight.OldestWrite()
		if late := oldest > g.cfg.AckTimeout; late == stuck {
			continue
		}
		stuck = !stuck
		if !stuck {
			g.log.Info("The pipeline finishes its writes in time again.")
			componentstatus.ReportStatus(g.host, componentstatus.NewEvent(componentstatus.StatusOK))
			continue
		}
		err := fmt.Errorf("a write has been going on for %s, longer than ack_timeout: look at the brokers", oldest.Round(time.Second))
		g.log.Error("The pipeline does not finish its writes. Clients keep their data and try again.", zap.Error(err))
		componentstatus.ReportStatus(g.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}
