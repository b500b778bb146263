package ring

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// What is read at an offset is what is written out, around every page's edge.
func TestAnExtentReadsAtEveryOffset(t *testing.T) {
	for _, size := range []int64{0, 1, PageSize - 1, PageSize, PageSize + 1, 3 * PageSize} {
		p := pages{source: system()}
		e := &extent{pages: p.take(nil, pagesFor(size)+1)} // a page more than is used
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i % 251)
		}
		require.NoError(t, e.append(want))
		var written bytes.Buffer
		_, err := e.WriteTo(&written)
		require.NoError(t, err)
		require.Equal(t, string(want), written.String())
		require.NoError(t, iotest.TestReader(io.NewSectionReader(e, 0, size), want))
		for _, off := range []int64{0, 1, PageSize - 1, PageSize, size, size + 1} {
			for _, n := range []int64{0, 1, PageSize, size + 1} {
				got := make([]byte, n)
				read, err := e.ReadAt(got, off)
				rest := want[min(off, size):]
				require.Equal(t, min(n, int64(len(rest))), int64(read))
				require.Equal(t, string(rest[:read]), string(got[:read]))
				require.Equal(t, int64(read) < n, errors.Is(err, io.EOF))
			}
		}
		_, err = e.ReadAt(make([]byte, 1), -1)
		require.Error(t, err)
		p.give(e.pages)
		require.NoError(t, p.check())
	}
}
