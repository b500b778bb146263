package lifelinereceiver

import (
	"errors"
	"net"
	"net/http"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// listener is what the servers of both protocols have in common.
type listener struct {
	addr    net.Addr       // nil: the protocol is off
	serving sync.WaitGroup // one goroutine, until the server is stopped
}

// open begins to serve at addr. An error that is not the end of a server ends the
// Collector.
func (l *listener) open(host component.Host, log *zap.Logger, protocol string, addr net.Addr, serve func() error) {
	l.addr = addr
	log.Info("Listening", zap.String("protocol", protocol), zap.Stringer("endpoint", addr))
	l.serving.Go(func() {
		if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
}
