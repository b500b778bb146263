// Package ring is the bounded memory between the calls that hand telemetry in
// and the paths that take it out. It holds frames in pages of 4 KiB, outside the
// Go heap where the system can do that, knows the state of every frame, and
// counts every item: accepted, delivered, flared, rejected, lost, held. One lock
// guards all of it, so that the counts of a Snapshot always add up.
//
//	open -> sealing -> held <-> sending -> out
//	                    held|sending -> flaring -> out | held
//	                    sending -> parked <-> flaring; parked -> out
//
// It decides nothing about time or networks: it starts no goroutine, has no
// clock (times are passed in), does no I/O and never parses telemetry. All
// methods of a Ring may be called concurrently; none of them blocks but for the
// lock.
package ring
