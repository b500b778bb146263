package flare

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// FuzzOpen seals what the fuzzer invents: everything behind age's integrity,
// with a signature where the fuzzer leaves room for one.
func FuzzOpen(f *testing.F) {
	signer, opener, recipient := plainSigner(f), testOpener(f), recipients(f, "recipients_classic.txt")[:1]
	f.Add(goodArchive(f), false)
	f.Add(goodArchive(f), true)
	f.Fuzz(func(t *testing.T, plain []byte, resign bool) {
		if resign {
			plain = signAgain(t, plain, func(raw []byte) ([]byte, error) { return sign(signer, raw) })
		}
		data := ageSeal(t, func([]age.Recipient) []age.Recipient { return recipient }, plain)
		salvaged, damage, err := opener.Salvage(storedAs(testID), data)
		fl, openErr := opener.Open(storedAs(testID), data)
		for _, n := range []int{len(data) - 1, len(data) - len(plain)/2} {
			if _, _, err := opener.verify(storedAs(testID), data[:n], ends{}); err != nil && !errors.Is(err, errCutOff) {
				requireSame(t, openErr, err)
			}
		}
		if err != nil {
			require.Nil(t, salvaged)
			require.Nil(t, fl)
			why, ok := errors.AsType[*Error](err)
			require.True(t, ok, err)
			requireReason(t, openErr, why.Bad, why.Reason) // which of two faults in a map is named is chance
			return
		}
		for i, got := range salvaged.Frames {
			body, _ := got.Stored.(frame.Bytes)
			sum := sha256.Sum256(body)
			require.Equal(t, hex.EncodeToString(sum[:]), salvaged.Manifest.Records[i].SHA256)
		}
		if damage != nil {
			require.Nil(t, fl)
			return
		}
		// Only what the writer would write opens.
		require.Equal(t, salvaged, fl)
		var again bytes.Buffer
		require.NoError(t, writeArchive(&again, archive{fl.RawManifest, fl.RawSignature, fl.Manifest.Records, fl.Frames}))
		require.True(t, bytes.Equal(plain, again.Bytes()))
	})
}

// requireSame asserts that two errors of an Opener mean the same.
func requireSame(t testing.TB, want, got error) {
	t.Helper()
	e, ok := errors.AsType[*Error](want)
	require.True(t, ok, "not an *Error: %v", want)
	requireReason(t, got, e.Bad, e.Reason)
}

// goodArchive is the archive of a flare with one record.
func goodArchive(t testing.TB) []byte {
	t.Helper()
	m, frames := testManifest(), testFrames()[:1]
	require.NoError(t, m.fill(frames))
	raw, err := encodeManifest(m)
	require.NoError(t, err)
	sig, err := sign(plainSigner(t), raw)
	require.NoError(t, err)
	var tar bytes.Buffer
	require.NoError(t, writeArchive(&tar, archive{raw, sig, m.Records, frames}))
	return tar.Bytes()
}

// signAgain replaces the second entry of an archive by a good signature of the
// first, so that the fuzzer reaches what lies behind it.
func signAgain(t testing.TB, plain []byte, sign func([]byte) ([]byte, error)) []byte {
	r := &ustarReader{r: bytes.NewReader(plain), max: int64(len(plain))}
	raw, err := r.small(manifestName, maxManifest)
	if err != nil {
		return plain
	}
	head := r.n
	if _, err := r.small(signatureName, maxSignature); err != nil {
		return plain
	}
	sig, err := sign(raw)
	require.NoError(t, err)
	var out bytes.Buffer
	out.Write(plain[:head])
	require.NoError(t, writeEntry(&out, signatureName, int64(len(sig)), frame.Bytes(sig)))
	out.Write(plain[r.n:])
	return out.Bytes()
}
