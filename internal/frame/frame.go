package frame

import "io"

// Body is bytes that can be written out any number of times, by several readers
// at once. Implementations are immutable while anybody holds them.
type Body interface {
	// Len returns the number of bytes WriteTo writes.
	Len() int64
	io.WriterTo
}

// Bytes is a Body in one slice. The slice must not change after it was handed over.
type Bytes []byte

// Len implements Body.
func (b Bytes) Len() int64 { return int64(len(b)) }

// WriteTo implements Body.
func (b Bytes) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b)
	return int64(n), err
}

// Frame is one frame as it is sent, stored in a flare and forwarded: an OTLP
// export request in one zstd frame, with its identity.
type Frame struct {
	Signal  Signal
	BatchID BatchID
	Header  Header
	Meta    map[string][]string // client metadata that travels as headers; lower-case keys; may be nil; never modified
	RawSize int64               // bytes of the request before compression
	Stored  Body                // one zstd frame
}
