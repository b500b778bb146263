package lifelinereceiver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
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

// message reads the one message of a stream.
type message struct {
	gateway *gateway
	stream  messageStream
	request *request // begin sets its open
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

// begin waits for the length of the message and returns it.
func (m *message) begin(ctx context.Context) (int64, error) {
	var header [5]byte // 1 when it is compressed, and its length
	err := m.within(ctx, min(firstByteTimeout, m.gateway.bodyTimeout()), func() error {
		return m.stream.ReadMessageHeader(header[:])
	})
	if err != nil {
		return 0, err
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
func (m *message) read(ctx context.Context, _ *reservation, length int64) (sent []byte, err error) {
	err = m.within(ctx, m.gateway.bodyTimeout(), func() error {
		data, err := m.stream.Read(int(length))
		if err != nil {
			return err
		}
		sent = data.Materialize() // a copy: grpc-go uses its buffers again
		data.Free()
		// The message is whole when the client has closed its side.
		if err := m.stream.ReadMessageHeader(make([]byte, 5)); err == nil {
			return undecodable(errors.New("more than one message in one call"))
		} else if !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err // sent may still be written to
	}
	return sent, nil
}

// within runs f, which reads from the stream, in a goroutine of its own, so that
// the handler can give up on a body that does not come. Ending the call ends f.
func (m *message) within(ctx context.Context, timeout time.Duration, f func() error) error {
	done := make(chan error, 1)
	if !m.gateway.run(&m.gateway.readers, func() { done <- f() }) {
		return errClosing
	}
	timer := time.NewTimer(time.Until(m.request.arrived.Add(timeout)))
	defer timer.Stop()
	select {
	case err := <-done:
		if _, own := errors.AsType[*refusal](err); err != nil && !own {
			return errCut
		}
		return err
	case <-timer.C:
	case <-ctx.Done():
	}
	return errSlow
}
