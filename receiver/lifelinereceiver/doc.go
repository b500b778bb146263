//go:generate mdatagen metadata.yaml

// Package lifelinereceiver is the gateway's receiver: it takes OTLP over gRPC
// and HTTP and says "done" only when the pipeline behind it is done. In
// passthrough mode a request's own bytes, checked but not decoded, become one
// Kafka record, or on an agent are lent to the lifeline exporter; in decode mode
// it is an ordinary OTLP receiver with the same front.
//
// It stores nothing and retries nothing: whoever sent the data keeps it until
// the answer says success. It bounds the bytes in flight before it reads them,
// unpacks one request per processor, and answers on its own clock, whatever the
// pipeline does, even when it panics.
//
// All signals of one configuration share one gateway. Start begins one goroutine
// per listener and one that watches; a worker does the work of every request, which
// may outlive the answer. Shutdown waits for all of them, but not longer than
// ack_timeout.
package lifelinereceiver
