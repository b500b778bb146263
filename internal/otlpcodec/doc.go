// Package otlpcodec is the only code that knows one signal from another: the
// edge to pdata (encode, split, count), the walk over encoded OTLP that checks
// and counts without decoding, and the compression of a stored frame.
//
// Its functions are pure and may be called concurrently.
package otlpcodec

import (
	"errors"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Piece is one encoded OTLP export request.
type Piece struct {
	Raw   []byte // uncompressed protobuf; owned by the receiver of the Piece
	Items int64  // spans, data points, log records, samples
}

// ErrOneItem is returned by Split for a request that cannot be made smaller.
var ErrOneItem = errors.New("the request holds a single item and cannot be split")

// Split cuts an encoded export request in two of about half its items each,
// working on the wire bytes: resources and scopes are repeated in both halves,
// fields it does not know are kept. It returns ErrOneItem when there is nothing
// to cut. Profiles are never split.
func Split(s frame.Signal, raw []byte) (left, right Piece, err error) {
	panic("not written")
}
