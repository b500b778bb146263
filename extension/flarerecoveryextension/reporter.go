package flarerecoveryextension

import (
	"fmt"

	"go.uber.org/zap"

	"github.com/otel-lifeline/lifeline/internal/recovery"
	"github.com/otel-lifeline/lifeline/internal/trouble"
)

// reporter turns changes of state into one log line each and the component's
// status. It is safe for concurrent use, but each trouble has one teller.
type reporter struct {
	log      *zap.Logger
	troubles trouble.List
}

// keys is told what is wrong with the key files now.
func (r *reporter) keys(err error) {
	r.set("keys", err, "a key file of recovery cannot be used", "the key files of recovery are in order")
}

// store is told what is wrong with the credentials of the bucket now.
func (r *reporter) store(err error) {
	r.set("store", err, "recovery cannot renew what it needs for the bucket; what it has stays in use",
		"what recovery needs for the bucket is in order")
}

// receipts is told what is wrong with the receipt keys now.
func (r *reporter) receipts(err error) {
	if err != nil {
		err = fmt.Errorf("forward::%w", err)
	}
	r.set("receipts", err, "the receipt keys cannot be used; the last good ones stay in force, and if there were none nothing is forwarded",
		"the receipt keys are in order")
}

// path is told when the bucket or the gateway stops or starts taking part.
func (r *reporter) path(err error) {
	r.set("path", err, "recovery pauses: flares stay in the bucket", "recovery goes on: bucket and gateway take part again")
}

// set notes what is wrong with something, and says so if that is news.
func (r *reporter) set(what string, err error, bad, good string) {
	switch {
	case !r.troubles.Set(what, err):
	case err != nil:
		r.log.Error(bad, zap.Error(err))
	default:
		r.log.Info(good)
	}
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
		r.log.Error("flare is settled but stuck: the step is tried again in every pass; if it is refused, give recovery the right to do it", fields...)
	}
}
