// Package bench loads collectors that run as processes of their own and measures
// what they cost: CPU time, resident memory, the time to an answer. A comparison
// runs its subjects in turns, in one run and on one machine, and prints what
// benchstat reads.
//
// The load compresses like telemetry does, not like a template repeated: every
// request has ids, times and values of its own. Requests are made, compressed and
// framed before anything is measured, and the servers behind the measured process
// read and do not decode, so that the two cost little beside it.
package bench
