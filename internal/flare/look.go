package flare

import (
	"errors"
	"io"
)

const (
	// HeadSize is how many bytes of a flare hold its age header and its first chunk,
	// whatever the header's size. They show who can open it, and as good as always who
	// signed it.
	HeadSize = maxAgeHeader + ageNonce + ageChunk + ageTag
	// signedSize is how many bytes of a flare hold the manifest and its signature,
	// whatever their sizes.
	signedSize = maxAgeHeader + ageNonce + (signedPlain+ageChunk-1)/ageChunk*(ageChunk+ageTag)

	signedPlain = block + maxManifest + block + maxSignature // bytes; the limits are whole blocks
)

// Look tells from the first bytes of an object what Open would say of it, so that
// no more is fetched of what is no flare, not for these identities, or not signed by
// somebody who is trusted. If that depends on what comes behind head, it returns how
// many bytes are needed to say more; MaxObject: all of them. Else it returns
// Open's *Error, which is the same for every object that begins with head.
func (p *Opener) Look(head []byte) (need int64, err error) {
	if len(head) < HeadSize {
		return HeadSize, nil
	}
	err = p.judge(head)
	switch {
	case err == nil:
		return MaxObject, nil
	case !errors.Is(err, errHeadEnds):
		return 0, err
	case len(head) < signedSize:
		return signedSize, nil
	default:
		return MaxObject, nil
	}
}

// judge is Open up to the signature, on the beginning of an object. It returns
// errHeadEnds if head does not hold all of the header, the manifest and the signature.
func (p *Opener) judge(head []byte) error {
	h, err := p.openHead(head, ends{})
	if errors.Is(err, errHeadEnds) || errors.Is(err, io.ErrUnexpectedEOF) { // a size that is claimed goes beyond it
		return errHeadEnds
	}
	if err != nil {
		return err
	}
	_, err = p.trust(h)
	return err
}

var errHeadEnds = errors.New("the head ends in front of the signature's end")

// ends is what comes behind a head: not the end of the object.
type ends struct{}

// Read implements io.Reader.
func (ends) Read([]byte) (int, error) { return 0, errHeadEnds }
