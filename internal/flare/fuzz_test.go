package flare

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// FuzzUstar looks for an archive that is read and is not what the writer would
// have written for its content.
func FuzzUstar(f *testing.F) {
	var good bytes.Buffer
	m := testManifest()
	if err := m.fill(testFrames()[:1]); err != nil {
		f.Fatal(err)
	}
	if err := writeArchive(&good, archive{[]byte("manifest"), []byte("sig"), m.Records, testFrames()[:1]}); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:block])
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &ustarReader{r: bytes.NewReader(data), max: int64(len(data))}
		manifest, err := r.small(manifestName, maxManifest)
		if err != nil {
			return
		}
		sig, err := r.small(signatureName, maxSignature)
		if err != nil {
			return
		}
		stored, err := r.file(m.Records[0].Name, m.Records[0].Size)
		if err != nil || r.end() != nil {
			return
		}
		var again bytes.Buffer
		frames := testFrames()[:1]
		frames[0].Stored = frame.Bytes(stored)
		require.NoError(t, writeArchive(&again, archive{manifest, sig, m.Records, frames}))
		require.True(t, bytes.Equal(data, again.Bytes()))
	})
}

// FuzzSignature looks for a second spelling of a signature.
func FuzzSignature(f *testing.F) {
	key, err := ParseSigner(keyFile(f, "certified_ed25519"), keyFile(f, "certified_ed25519-cert.pub"))
	if err != nil {
		f.Fatal(err)
	}
	text, err := sign(key, []byte("manifest"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(mustUnarmor(f, text))
	f.Add([]byte(sigMagic))
	f.Add(mustUnarmor(f, certified(f, otherSpelling(f, key.PublicKey().Marshal()))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sig, err := parseSignature(armor(raw))
		if err != nil {
			return
		}
		if sig.verify([]byte("manifest")) == nil && bytes.Equal(sig.key.Marshal(), key.PublicKey().Marshal()) {
			require.Equal(t, string(text), string(armor(raw)))
		}
	})
}

// FuzzAllowedSigners looks for a file that trusts a key without naming it.
func FuzzAllowedSigners(f *testing.F) {
	good := string(keyFile(f, "allowed_signers"))
	f.Add(good)
	f.Add(`a namespaces="x,y",valid-after="20260101Z" ` + strings.SplitAfterN(good, " ", 3)[2])
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseAllowedSigners(strings.NewReader(text))
		if err != nil {
			require.Nil(t, s)
			return
		}
		require.Positive(t, s.Len())
		for _, lines := range s.keys {
			for _, l := range lines {
				require.False(t, strings.ContainsAny(l.principals, "*?!,\" \t\n"), l.principals)
			}
		}
	})
}

// FuzzManifest looks for a manifest that passes and cannot be written again.
func FuzzManifest(f *testing.F) {
	m := testManifest()
	if err := m.fill(testFrames()); err != nil {
		f.Fatal(err)
	}
	raw, err := encodeManifest(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > maxManifest/4 {
			return // what a manifest may leave out, the writer spells out
		}
		m, err := decodeManifest(raw)
		if err != nil {
			return
		}
		again, err := encodeManifest(m)
		require.NoError(t, err)
		_, err = decodeManifest(again)
		require.NoError(t, err)
	})
}
