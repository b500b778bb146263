// Package flarerecoveryextension is the collector's edge of recovery: it turns
// configuration and key files into an internal/recovery Loop, runs it between
// Ready and NotReady, and shows its state in logs, metrics and status.
//
// It decides nothing about flares, and it never runs on a gateway by itself:
// that is the operator's layout. It owns one goroutine, the loop.
package flarerecoveryextension

//go:generate mdatagen metadata.yaml
