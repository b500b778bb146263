// Package statusextension serves the status page: what Lifeline's components of
// this process are working on, for people and for programs. What they show they
// say themselves, through internal/status.
//
// It owns one goroutine, which serves, from Start to Shutdown, and one per
// component while a page is made.
package statusextension

//go:generate mdatagen metadata.yaml
