package frame_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// written is a Body that can only be written out.
type written string

func (w written) Len() int64 { return int64(len(w)) }

func (w written) WriteTo(dst io.Writer) (int64, error) {
	n, err := io.WriteString(dst, string(w))
	return int64(n), err
}

// placed is a Body that can only be read in place, and knows who reads it when
// nobody may.
type placed struct {
	*bytes.Reader
	over bool
	late int
}

func (p *placed) Len() int64 { return p.Size() }

func (p *placed) WriteTo(io.Writer) (int64, error) { return 0, errors.New("read me in place") }

func (p *placed) ReadAt(b []byte, off int64) (int, error) {
	if p.over {
		p.late++
	}
	return p.Reader.ReadAt(b, off)
}

func TestLoanReadsEveryKindOfBody(t *testing.T) {
	const text = "one zstd frame"
	for _, b := range []frame.Body{frame.Bytes(text), written(text), &placed{Reader: bytes.NewReader([]byte(text))}} {
		l := frame.Lend(b)
		require.Equal(t, b.Len(), l.Len())
		for range 2 { // a client may begin anew
			r := l.Reader()
			require.NoError(t, iotest.TestReader(r, []byte(text)))
			require.NoError(t, r.Close())
		}
		_, writes := l.Reader().(io.WriterTo)
		require.False(t, writes, "no network waits under the lock")
	}
}

// A client keeps its readers and reads on after its call has ended.
func TestNobodyReadsAfterALoan(t *testing.T) {
	body := &placed{Reader: bytes.NewReader(make([]byte, 1<<20))}
	l := frame.Lend(body)
	var wg sync.WaitGroup
	for range 4 {
		r := l.Reader()
		begun := make(chan struct{})
		wg.Go(func() {
			_, _ = r.Read(make([]byte, 1))
			close(begun)
			n, err := io.Copy(io.Discard, onlyReader{r})
			for err == nil && n > 0 { // it was faster than the end of the loan
				n, err = io.Copy(io.Discard, onlyReader{l.Reader()})
			}
			if !errors.Is(err, frame.ErrLoanEnded) {
				panic(err)
			}
		})
		<-begun
	}
	l.End()
	body.over = true // unguarded: the race detector sees a read that was not waited for
	wg.Wait()
	for _, r := range []io.Reader{l.Reader(), io.NewSectionReader(l, 0, 1)} {
		n, err := r.Read(make([]byte, 1))
		require.Zero(t, n)
		require.ErrorIs(t, err, frame.ErrLoanEnded)
	}
	require.Zero(t, body.late)
	l.End()
}

type onlyReader struct{ io.Reader }
