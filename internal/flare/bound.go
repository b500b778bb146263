package flare

import "math"

// What the parts of a flare take at most. recordBound holds a record's JSON
// without its metadata, with a header text of the longest values that parse.
const (
	fixedBound  = 1024 + maxAudience*2 + maxReport + 21*maxUnresolved
	recordBound = 900
	metaFactor  = 8        // a one-byte value takes "", and a byte may be escaped
	stanzaBound = 2 << 10  // a post-quantum recipient takes 1.6 KiB
	ageFixed    = 256      // first line, MAC, nonce
	ageChunk    = 64 << 10 // plaintext bytes per chunk
	ageTag      = 16       // bytes more per chunk
)

// SizeBound returns the most bytes Seal can write for n frames of stored bytes
// in all, with meta bytes of metadata keys and values in all. It returns
// math.MaxInt64 if so many frames may not fit one flare whatever their size, so
// that comparing it with a limit is all a caller has to do.
func (s *Sealer) SizeBound(n int, stored, meta int64) int64 {
	const most = int64(MaxObject)
	if n < 0 || n > MaxRecords || stored < 0 || stored > most || meta < 0 || meta > most {
		return math.MaxInt64
	}
	manifest := fixedBound + int64(n)*recordBound + meta*metaFactor
	if manifest > maxManifest {
		return math.MaxInt64
	}
	plain := entrySize(manifest) + entrySize(maxSignature) + stored + int64(n)*(2*block-1)
	plain = padme(plain + block + endOfArchive)
	bound := ageFixed + int64(len(s.Recipients))*stanzaBound + plain + (plain/ageChunk+1)*ageTag
	if bound > most {
		return math.MaxInt64
	}
	return bound
}
