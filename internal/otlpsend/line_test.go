package otlpsend

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinesAreLeftAndNotCut(t *testing.T) {
	opened, left := 0, 0
	var closed []int
	var broken error
	l := &lines[int]{
		open:  func() (int, error) { opened++; return opened, broken },
		close: func(n int) { closed = append(closed, n) },
		leave: func() { left++ },
	}
	take := func() *line[int] {
		n, err := l.take()
		require.NoError(t, err)
		return n
	}
	require.NoError(t, l.first())
	slow := take() // waits for its answer all the time
	for _, o := range []outcome{failed, worked, failed, nothing, failed} {
		require.Zero(t, left)
		l.done(take(), o)
	}
	require.Equal(t, 1, left, "two in a row, what the caller ended not counted")
	second := take()
	require.Equal(t, 2, second.conn)
	require.Empty(t, closed, "somebody still waits")
	l.done(slow, failed)
	require.Equal(t, []int{1}, closed)
	l.done(second, failed)
	require.Equal(t, 1, left, "what comes late from a line that was left is no news")

	l.done(take(), unusable)
	require.Equal(t, 2, left)
	l.done(take(), unusable)
	require.Equal(t, 2, left)
	broken = errors.New("the CA file is gone")
	again := take()
	require.Equal(t, 3, again.conn, "a line that cannot be replaced stays")
	l.done(again, worked)
	broken = nil
	l.done(take(), worked)
	require.Equal(t, []int{1, 2, 3}, closed)
	l.shut()
	require.Len(t, closed, 4)
}
