// Package sim runs a whole Lifeline through hours of outages in a bubble of
// virtual time: agents (the real delivery engine, ring and flare writer), a model
// of a gateway with Kafka behind it, two buckets, and the real recoveries that
// bring flares back from them; and an oracle that knows every record by its number.
//
// A run is made of one seed. It plans a World: the weather at every edge, that
// is, what goes wrong there and when, and the lives of the actors. Actors (agents
// and replicas of recovery) live in the World and reach its servers (gateway,
// stores) through edges. What happens to one call at an edge, before its effect
// and after it, is drawn from the seed, the edge and the identity of the call,
// never from the order in which goroutines run, so that a run can be played again.
// The Oracle writes down what the servers took and what they told the actors. It
// says what the counters of every process of an agent must be, and at the end,
// when the weather is over and the recoveries had time, that Kafka has every
// record which it must have.
//
// To read it: world.go (seed, clock, one call at an edge), rest.go (who goes first
// in one instant), weather.go (what goes wrong), gateway.go, ack.go and store.go (the
// servers), agent.go and boot.go (who sends), records.go (what they send),
// replica.go, reader.go and wayback.go (who brings back, its ways to a store and to
// the gateway), object.go (one flare), oracle.go, judge.go and settle.go (what must
// be true), run.go (one run).
package sim
