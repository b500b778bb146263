package flare

// The limits of a flare. Writers stay below them and readers refuse what is
// above: both sides read them from here.
const (
	MaxObject  = 64 << 20 // bytes of a sealed flare
	MaxRecords = 16_384   // records in one flare
	MaxRawSize = 64 << 20 // bytes of one record before compression

	maxManifest   = 4 << 20  // bytes of manifest.json
	maxSignature  = 8 << 10  // bytes of manifest.json.sig
	maxReport     = 4 << 10  // bytes of the report as JSON
	maxSeq        = 1e15 - 1 // the largest integer of a header (RFC 9651)
	maxUnresolved = 256      // seqs listed as unresolved
	maxAudience   = 256      // bytes
	maxAgeHeader  = 64 << 10 // bytes of the age header
	ageNonce      = 16       // bytes between the age header and the first chunk
	maxStanzas    = 16       // recipients
	maxDepth      = 16       // nesting of the manifest's JSON
	maxKeys       = 1024     // keys of one JSON object; an array has MaxRecords elements at most
	maxWindow     = 8 << 20  // bytes of a record's zstd window

	maxMetaKeys   = 64       // keys of one record's metadata
	maxMetaKey    = 128      // bytes of a key
	maxMetaValues = 16       // values of a key
	maxMetaValue  = 4 << 10  // bytes of a value
	maxMetaSize   = 16 << 10 // bytes of all, as HTTP counts the fields of a header
	metaField     = 32       // bytes that HTTP counts for a field beside name and value

	maxTrustFile = 16 << 20 // bytes of an allowed signers or revocation file
	maxTrustLine = 8 << 10  // bytes of one of its lines
	maxKeyFile   = 256 << 10
)
