package sim

// What must have happened in some runs, in many, and in more than CI has: an oracle
// that nothing happens to finds nothing.
const (
	fewRuns  = 8
	manyRuns = 100
	mostRuns = 300
)

var common = []string{
	"end: crash", "end: shutdown",
	"gateway: up, taken", "gateway: slow, taken", "gateway: lost, taken", "gateway: hung, not taken", "gateway: hung_late, taken",
	"gateway: refused, not taken", "gateway: reset, not taken", "gateway: half, not taken", "gateway: not_an_ack, taken",
	"gateway: not_an_ack, not taken", "gateway: auth, not taken", "gateway: throttled, not taken", "gateway: server, not taken",
	"gateway: bad data, not taken", "gateway: too large, not taken", "gateway: partial success, taken", "gateway: reads on after the answer",
	"store-0: ok, taken", "store-0: denied, not taken", "store-0: throttled, not taken", "store-0: unknown, not taken",
	"store-0: hung, not taken", "store-1: ok, taken",
	"items: accepted while the stores work", "items: delivered", "items: flared, expired", "items: rejected",
	"items: lost in a crash, predicted", "items: twice", "frames: numbered without a gap", "flares: expired, given_up",
	"agent: dies in a send", "end: recovery crash", "end: recovery stop",
	"recovery: dies before an effect", "recovery: dies after an effect", "recovery: stands still",
	"gateway: no_receipt, taken", "gateway: no_receipt, not taken", "gateway: wrong_receipt, not taken",
	"gateway: tells the time while its clock is set", "store-0: tells the time while its clock is set", "flares: dated by a clock that is hours away",
	"store-0: hands out other bytes", "store-0: lists what is not true any more",
	"inner gateway: asks for a window", "inner gateway: asks for another window", "inner gateway: asks for no window any more",
	"recovery: several records on their way", "recovery: as many records on their way as the gateway asked for",
	"recovery: recovered", "recovery: drill", "recovery: quarantined rejected",
	"inner gateway: up, taken", "store-0: list: ok, taken", "store-0: list: denied, not taken", "store-0: list: unknown_late, taken",
	"store-0: get: ok, taken", "store-0: get: denied, not taken", "store-0: put: denied, not taken", "store-0: delete: ok, taken", "store-0: copy: ok, taken",
	"records: in Kafka out of a flare", "records: in Kafka more than once", "records: not in Kafka, predicted", "records: withheld from Kafka, predicted",
}

var rare = []string{
	"accept: full", "accept: too large", "keys: a flare found them broken",
	"gateway: slow, not taken",
	"store-0: half, not taken", "store-0: unreachable, not taken", "store-0: exists, not taken", "store-0: refused, not taken",
	"store-0: slow, taken", "store-0: slow, not taken", "store-0: ok, not taken", "store-0: unknown_late, taken", "store-0: hung_late, taken",
	"items: flared, ring_full", "items: flared, shutdown", "items: rejected and dropped", "items: acked late",
	"items: lost, ring_full", "items: lost, shutdown", "items: lost, flare_unknown", "items: lost, budget", "items: lost but arrived",
	"flares: rejected, stored", "flares: drill, stored",
	"agent: dies in a put",
	"recovery: quarantined malformed", "recovery: quarantined refused_record", "recovery: waiting refused", "recovery: waiting unknown_signer",
	"recovery: stuck delete", "recovery: forwards what another one has done, leases: false",
	"recovery: a forward comes in after another one was done, leases: false", "recovery: a record that the next one waits for",
	"leases: taken from a process that lives", "leases: written", "leases: not written, another one was faster", "leases: written, and nobody was told",
	"recovery: stands still for longer than its leases last", "gateway: wrong_receipt, taken",
	"inner gateway: no_receipt, not taken", "inner gateway: wrong_receipt, taken", "inner gateway: wrong_receipt, not taken",
	"inner gateway: tells the time while its clock is set", "store-1: hands out other bytes", "store-1: lists what is not true any more",
	"inner gateway: slow, taken", "inner gateway: lost, taken", "inner gateway: hung, not taken", "inner gateway: hung_late, taken",
	"inner gateway: refused, not taken", "inner gateway: reset, not taken", "inner gateway: half, not taken",
	"inner gateway: auth, not taken", "inner gateway: throttled, not taken", "inner gateway: server, not taken",
	"inner gateway: bad data, not taken", "inner gateway: too large, not taken", "inner gateway: partial success, taken",
	"store-0: list: hung, not taken", "store-0: list: hung_late, taken", "store-0: list: unreachable, not taken",
	"store-0: put: hung, not taken", "store-0: put: hung_late, taken", "store-0: put: unknown, not taken", "store-0: put: unknown_late, taken", "store-0: put: throttled, not taken",
	"store-0: delete: denied, not taken", "store-0: delete: unknown, not taken", "store-0: delete: unknown_late, taken",
}

var seldom = []string{
	"items: acked while a crash", "flares: ring_full, given_up", "flares: rejected, given_up", "flares: shutdown, failed", "recovery: stuck copy", "recovery: stuck marker",
	"inner gateway: no_receipt, taken", "inner gateway: not_an_ack, taken", "inner gateway: not_an_ack, not taken", "inner gateway: up, not taken", "store-0: get: hung, not taken",
	"store-0: get: hung_late, taken", "store-0: get: unknown, not taken", "store-0: get: unreachable, not taken", "store-0: get: half, not taken", "store-0: delete: hung, not taken",
	"store-0: delete: hung_late, taken", "store-0: copy: denied, not taken", "store-0: copy: slow, taken",
}
