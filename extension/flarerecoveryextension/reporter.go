package flarerecoveryextension

import (
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/recovery"
)

// reporter turns changes of state into one log line each and the component's
// status. Only the loop calls it.
type reporter struct {
	log      *zap.Logger
	host     component.Host
	keysErr  error
	storeErr error
	pathErr  error
}

func newReporter(log *zap.Logger, host component.Host) *reporter {
	return &reporter{log: log, host: host}
}

// keys is told what is wrong with the key files now.
func (r *reporter) keys(err error) {
	if text(err) == text(r.keysErr) {
		return
	}
	r.keysErr = err
	if err != nil {
		r.log.Error("a key file of recovery can not be used", zap.Error(err))
	} else {
		r.log.Info("the key files of recovery are in order")
	}
	r.status()
}

// store is told what is wrong with the credentials of the bucket now.
func (r *reporter) store(err error) {
	if text(err) == text(r.storeErr) {
		return
	}
	r.storeErr = err
	if err != nil {
		r.log.Error("recovery can not renew what it needs for the bucket; what it has stays in use", zap.Error(err))
	} else {
		r.log.Info("what recovery needs for the bucket is in order")
	}
	r.status()
}

// path is told when the bucket or the gateway stops or starts taking part.
func (r *reporter) path(err error) {
	r.pathErr = err
	if err != nil {
		r.log.Warn("recovery pauses: flares stay in the bucket", zap.Error(err))
	} else {
		r.log.Info("recovery goes on: bucket and gateway take part again")
	}
	r.status()
}

func (r *reporter) status() {
	event := componentstatus.NewEvent(componentstatus.StatusOK)
	if err := errors.Join(r.keysErr, r.storeErr, r.pathErr); err != nil {
		event = componentstatus.NewRecoverableErrorEvent(err)
	}
	componentstatus.ReportStatus(r.host, event)
}

// flare is told of every flare that reached a state.
func (r *reporter) flare(e recovery.Event) {
	fields := []zap.Field{zap.String("key", e.Key), zap.Int64("bytes", e.Bytes)}
	if e.Principal != "" {
		fields = append(fields, zap.String("principal", e.Principal), zap.String("why", string(e.Why)))
	}
	if e.Reason != "" {
		fields = append(fields, zap.String("reason", e.Reason))
	}
	if e.Err != nil {
		fields = append(fields, zap.Error(e.Err))
	}
	switch e.State {
	case recovery.Recovered:
		r.log.Info("flare recovered", append(fields, zap.Int64("items", e.Items))...)
	case recovery.Drilled:
		r.log.Info("drill came through", fields...)
	case recovery.Quarantined:
		r.log.Warn("flare moved to quarantine: look at it with `lifeline flare inspect`", fields...)
	case recovery.Waiting:
		r.log.Warn("flare waits in the bucket", fields...)
	case recovery.Stuck:
		r.log.Error("flare is settled but stuck: give recovery the right to do this step", fields...)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
