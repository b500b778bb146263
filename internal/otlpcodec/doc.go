// Package otlpcodec is the only code that knows one signal from another: the
// edge to pdata (encode, decode, split), the walk over encoded OTLP that checks
// and counts without decoding, and the compression of a stored frame.
//
// The walk follows the messages of OTLP 1.10 down to the last attribute: what
// Count accepts, pdata decodes, and what it refuses, pdata refuses, but for
// messages nested too deep. It does not check that strings are UTF-8, and it
// knows nothing about the meaning of a value. No byte of a stranger reaches
// pdata before the walk, because pdata recurses as deep as the data says.
//
// Its functions are pure and may be called concurrently.
package otlpcodec

import (
	"errors"
)

// Piece is one encoded OTLP export request.
type Piece struct {
	Raw   []byte // uncompressed protobuf; owned by the receiver of the Piece
	Items int64  // spans, data points, log records, samples
}

// ErrOneItem is returned by Split for a request that cannot be made smaller.
var ErrOneItem = errors.New("the request holds a single item and cannot be split")

// ErrMalformed is in the chain of every error about bytes that are not an OTLP
// export request of the signal they were said to be, or that nest deeper than
// this package reads. The same bytes will never be accepted.
var ErrMalformed = errors.New("not a valid OTLP request")

// ErrDeprecated is returned by Count and Split for a request that holds its
// records in the field 1000 of OTLP before 0.15 (instrumentation_library_*),
// which Modernize moves to where readers of today look for them.
var ErrDeprecated = errors.New("the request uses fields that OTLP 0.15 removed")
