package flare

import "errors"

const (
	// HeadSize is how many bytes of a flare hold its age header and its first chunk,
	// whatever the header's size. They show who can open it, and mostly who signed it
	// and what.
	HeadSize = maxAgeHeader + ageNonce + ageChunk + ageTag
	// signedSize is how many bytes of a flare hold the manifest and its signature,
	// whatever their sizes.
	signedSize = maxAgeHeader + ageNonce + (signedPlain+ageChunk-1)/ageChunk*(ageChunk+ageTag)

	signedPlain = block + maxManifest + block + maxSignature // bytes; the limits are whole blocks
)

// Look tells from the first bytes of the object o what Open would say of it, so that
// no more is fetched of what fails a check in front of its records. If that depends
// on what comes behind head, it returns how many bytes are needed to say more;
// MaxObject: all of them. Else it returns Open's *Error, which is the same for
// every object that begins with head.
func (p *Opener) Look(o Object, head []byte) (need int64, err error) {
	if len(head) < HeadSize {
		return HeadSize, nil
	}
	_, _, err = p.verify(o, head, ends{})
	switch {
	case err == nil:
		return MaxObject, nil
	case !errors.Is(err, errCutOff):
		return 0, err
	case len(head) < signedSize:
		return signedSize, nil
	default:
		return MaxObject, nil
	}
}

// ends is what comes behind a head: not the end of the object.
type ends struct{}

// Read implements io.Reader.
func (ends) Read([]byte) (int, error) { return 0, errCutOff }
