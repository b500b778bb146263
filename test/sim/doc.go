// Package sim runs agents through hours of outages in a bubble of virtual time:
// the real delivery engine, ring and flare writer between a model of a gateway
// and two buckets, and an oracle that knows every record by its number.
//
// A run is made of one seed. It plans a World: the weather at every edge, that
// is, what goes wrong there and when, and the lives of the agents. Actors (agents)
// live in the World and reach its servers (gateway, stores) through edges. What
// happens to one call at an edge, before its effect and after it, is drawn from the
// seed, the edge and the identity of the call, never from the order in which
// goroutines run, so that a run can be played again. The Oracle writes down what
// the servers took and what they told the agents, and at the end of every process
// says what its counters must be.
//
// To read it: world.go (seed, clock, one call at an edge), weather.go (what goes
// wrong), gateway.go and store.go (the servers), agent.go and boot.go (who lives
// there), records.go (what they send), oracle.go and judge.go (what must be true),
// run.go (one run).
package sim
