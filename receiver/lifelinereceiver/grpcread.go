package lifelinereceiver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// messageStream is what grpc-go's stream can do and its ServerStream hides:
// reading a message in two steps. RecvMsg would show the length of a message
// only when all of it is in memory, and decompress it with windows of any size.
type messageStream interface {
	RecvCompress() string
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
}

// message reads the one message of a stream. Reading blocks until bytes come or
// the call ends; so a worker does it, while the handler waits in patience.
type message struct {
	gateway *gateway
	stream  messageStream
	request *request    // begin sets its open
	begun   atomic.Bool // begin has returned
	whole   atomic.Bool // read has returned
}

// firstByteTimeout is how long a stream may be silent. It holds no bytes until
// then, but one of the places for unread streams.
const firstByteTimeout = 2 * time.Second

// newMessage returns the message of a call, and false when a new version of
// grpc-go has another stream.
func (g *gateway) newMessage(ctx context.Context, r *request) (*message, bool) {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(messageStream)
	return &message{gateway: g, stream: stream, request: r}, ok
}

// patience waits for done, and refuses a body that is too slow. It wakes up only
// to look at the clock: to be told of every step would cost more than the step.
// Ending the call ends begin and read. The clock of the body begins here: before
// this, the request may have waited for the lane.
func (m *message) patience(answer context.Context, done <-chan struct{}) *refusal {
	began := time.Now()
	timer := time.NewTimer(min(firstByteTimeout, m.gateway.bodyTimeout()))
	defer timer.Stop()
	for _, step := range []*atomic.Bool{&m.begun, &m.whole} {
		select {
		case <-done:
			return nil
		case <-timer.C:
			if !step.Load() {
				return errSlow
			}
			timer.Reset(time.Until(began.Add(m.gateway.bodyTimeout())))
		case <-answer.Done():
			if m.whole.Load() {
				return nil
			}
			return errSlow
		}
	}
	return nil
}

// begin waits for the length of the message and returns it.
func (m *message) begin() (int64, error) {
	defer m.begun.Store(true)
	var header [5]byte // 1 when it is compressed, and its length
	if err := m.stream.ReadMessageHeader(header[:]); err != nil {
		return 0, errCut
	}
	switch header[0] {
	case 0:
	case 1:
		open, ok := decompressors[m.stream.RecvCompress()]
		if !ok {
			return 0, unsupported(0, "unsupported encoding: use zstd, gzip, snappy or none")
		}
		if open == nil {
			return 0, undecodable(errors.New("the message is compressed, but grpc-encoding does not say how"))
		}
		m.request.open = open
	default:
		return 0, undecodable(errors.New("not a gRPC message"))
	}
	return int64(binary.BigEndian.Uint32(header[1:])), nil
}

// read returns the length bytes of the message.
func (m *message) read(_ *reservation, length int64) ([]byte, error) {
	defer m.whole.Store(true)
	data, err := m.stream.Read(int(length))
	if err != nil {
		return nil, errCut
	}
	sent := newBuffer(length)[:length]
	data.CopyTo(sent) // grpc-go uses its buffers again
	data.Free()
	// The message is whole when the client has closed its side.
	var header [5]byte
	if err := m.stream.ReadMessageHeader(header[:]); err == nil {
		return nil, undecodable(errors.New("more than one message in one call"))
	} else if !errors.Is(err, io.EOF) {
		return nil, errCut
	}
	return sent, nil
}
