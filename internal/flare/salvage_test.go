package flare

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Whatever is left of a flare, what comes out of it is what went in, in order,
// and nothing less than the age chunks in front of the damage hold.
func TestSalvageReturnsTheVerifiedPrefix(t *testing.T) {
	long := func(f []frame.Frame) []frame.Frame {
		for i := range f {
			f[i].Stored = append(frame.Bytes(frameHeader), bytes.Repeat([]byte{byte(i)}, 40_000)...)
		}
		return f
	}
	frames := long(testFrames())
	whole := forgery{frames: long}.forge(t)
	p, o := forgery{}.reader(t)
	f, damage, err := p.Salvage(o, whole)
	require.NoError(t, err)
	require.NoError(t, damage)
	require.Equal(t, frames, f.Frames)

	prefixes := map[int]bool{}
	for at := 0; at < len(whole); at += 4093 {
		for what, data := range map[string][]byte{"cut": whole[:at], "bit": flip(at)(bytes.Clone(whole))} {
			f, damage, err := p.Salvage(o, data)
			if err != nil {
				require.Nil(t, f)
				require.NoError(t, damage)
				require.Less(t, at, 1000+ageChunk, "%s at %d: the first chunk holds the manifest", what, at)
				continue
			}
			requireReason(t, damage, true, Malformed)
			n := len(f.Frames)
			prefixes[n] = true
			require.Equal(t, frames[:n], f.Frames)
			require.Len(t, f.Manifest.Records, len(frames), "the manifest tells what is missing")
			chunks := (at - 1000) / (ageChunk + ageTag) // whole ones in front of the damage
			require.GreaterOrEqual(t, n, min((chunks*ageChunk-8000)/41_000, len(frames)), "%s at %d", what, at)
			none, err := p.Open(o, data)
			require.Nil(t, none)
			require.Equal(t, damage, err)
		}
	}
	require.Equal(t, map[int]bool{1: true, 3: true}, prefixes, "a chunk holds a record and a half")
}
