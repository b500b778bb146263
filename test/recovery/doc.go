// Package recovery tests recovery as an operator runs it: the built binary with
// the shipped config, between a real S3 server with the shipped policy and an OTLP
// server that keeps a ledger. A Tap stands on both ways and can hold any call.
package recovery
