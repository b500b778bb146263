package otlpsend

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// wire is codec and compressor of gRPC connections at once. gRPC has no way to
// send a message that is compressed already: it asks the codec for a message and
// the compressor to make it smaller. So the message is a ticket of eight bytes,
// and the compressor writes the body that the ticket stands for. Bytes are
// copied once, from the ring into gRPC's buffers, which gRPC may read after the
// call; a ring page is free when the call returns. The process-wide registered
// compressors are not touched.
type wire struct {
	name string // of the compression

	next    atomic.Uint64
	waiting sync.Map // ticket to *messageBody, from Marshal to Do
}

// messageBody is a request as gRPC gets it.
type messageBody struct{ loan *frame.Loan }

// answerBody is an answer, at most maxAnswer bytes of it.
type answerBody struct {
	body []byte
	long bool
}

func newWire(c Compression) *wire { return &wire{name: string(cmp.Or(c, Zstd))} }

// Name implements encoding.CodecV2: it is part of the content type.
func (*wire) Name() string { return "proto" }

// Type implements grpc.Compressor: it is the grpc-encoding.
func (w *wire) Type() string { return w.name }

var errForeign = errors.New("not a message of this package")

// Marshal implements encoding.CodecV2.
func (w *wire) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*messageBody)
	if !ok {
		return nil, errForeign
	}
	if w.name == string(None) {
		body := encode(m.loan, None)
		defer func() { _ = body.Close() }()
		out, err := mem.ReadAll(body, mem.DefaultBufferPool())
		if err != nil {
			out.Free()
			return nil, fmt.Errorf("decode the stored frame: %w", err)
		}
		return out, nil
	}
	ticket := binary.BigEndian.AppendUint64(nil, w.next.Add(1))
	w.waiting.Store(string(ticket), m)
	return mem.BufferSlice{mem.SliceBuffer(ticket)}, nil
}

// Do implements grpc.Compressor.
func (w *wire) Do(dst io.Writer, ticket []byte) error {
	m, ok := w.waiting.LoadAndDelete(string(ticket))
	if !ok {
		return errForeign
	}
	body := encode(m.(*messageBody).loan, Compression(w.name))
	defer func() { _ = body.Close() }()
	buf := mem.DefaultBufferPool().Get(chunkSize)
	defer mem.DefaultBufferPool().Put(buf)
	_, err := io.CopyBuffer(dst, body, *buf)
	return err
}

// Unmarshal implements encoding.CodecV2.
func (*wire) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*answerBody)
	if !ok {
		return errForeign
	}
	if in.long = data.Len() > maxAnswer; !in.long {
		in.body = data.Materialize()
	}
	return nil
}

// maxGRPCAnswer is the longest answer gRPC reads. No server has a limit of just
// this size, so that a status that names it is gRPC's own, about the answer, and
// not a server's about the request.
const maxGRPCAnswer = maxAnswer + 1

// madeByGRPC recognises what gRPC makes of a success that it cannot use.
func madeByGRPC(message string) bool {
	return ownLimit(message) || strings.HasPrefix(message, "cardinality violation")
}

func ownLimit(message string) bool {
	return strings.Contains(message, "larger than max") && strings.Contains(message, strconv.Itoa(maxGRPCAnswer))
}
