package flare

import "golang.org/x/crypto/ssh"

// Inspection is what a flare says about itself. Nothing in it is proven but
// what the fields say.
type Inspection struct {
	Manifest    Manifest
	Fingerprint string // of the key that claims to have signed
	Signature   error  // nil: that key signed this manifest; whether it may is not asked
	Content     error  // nil: all records are what the manifest says, to the last byte
}

// Inspect reads a flare without asking who signed it, for what, or when. It is
// for people: what it returns may be the invention of anybody who can write to
// the bucket. It fails with an *Error if the manifest cannot be read.
func (p *Opener) Inspect(data []byte) (*Inspection, error) {
	head, err := p.openHead(data, nil)
	if err != nil {
		return nil, err
	}
	m, err := head.decode()
	if err != nil {
		return nil, err
	}
	i := &Inspection{Manifest: *m, Signature: head.signature.verify(head.manifest)}
	key := head.signature.key
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	i.Fingerprint = ssh.FingerprintSHA256(key)
	_, i.Content = head.records(m)
	return i, nil
}
