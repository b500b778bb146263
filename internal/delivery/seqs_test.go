package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSeqs(t *testing.T) {
	var s seqs
	first, unresolved := s.next()
	require.Equal(t, uint64(1), first)
	require.Empty(t, unresolved)
	_, unresolved = s.next()
	require.Equal(t, []uint64{1}, unresolved)
	s.stored(1)
	require.Equal(t, []uint64{1}, unresolved, "the caller owns it")
	_, unresolved = s.next()
	require.Equal(t, []uint64{2}, unresolved)

	for range 2 * maxUnresolved {
		_, unresolved = s.next()
	}
	require.Len(t, unresolved, maxUnresolved)
	require.Equal(t, s.newest-1, unresolved[maxUnresolved-1], "the latest are kept")
}

// A number that no bucket has is given again, but not one that a later flare named.
func TestVoidSeqs(t *testing.T) {
	var s seqs
	s.next()
	s.next()
	s.void(1)
	seq, unresolved := s.next()
	require.Equal(t, uint64(3), seq)
	require.Equal(t, []uint64{1, 2}, unresolved)
	s.void(3)
	seq, unresolved = s.next()
	require.Equal(t, uint64(3), seq)
	require.Equal(t, []uint64{1, 2}, unresolved)
	s.stored(3)
	s.stored(2)
	_, unresolved = s.next()
	require.Equal(t, []uint64{1}, unresolved)
}
