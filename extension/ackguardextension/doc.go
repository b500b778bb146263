// Package ackguardextension is the conscience of a gateway: it refuses to start
// one whose configuration would make its acks untrue, and asks the brokers
// whether their topics keep what an ack says.
//
// The rules themselves are in internal/ackrules. It owns one goroutine, which
// asks the brokers, from Ready to Shutdown.
package ackguardextension

//go:generate mdatagen metadata.yaml
