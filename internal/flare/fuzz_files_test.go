package flare

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// FuzzAgeHeader looks for a header that passes the bounds and makes age do more
// than they say.
func FuzzAgeHeader(f *testing.F) {
	good := ageSeal(f, nil, []byte("x"))
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte("age-encryption.org/v1\n-> X25519 A\nAAAA\n-> mlkem768x25519 A\nAAAA\n--- AAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkAgeHeader(data) != nil {
			return
		}
		seen := counting{}
		_, _ = age.Decrypt(bytes.NewReader(data), &seen)
		require.LessOrEqual(t, seen.stanzas, maxStanzas)
		require.Empty(t, seen.foreign)
	})
}

// counting is an identity that looks at what age hands to identities.
type counting struct {
	stanzas int
	foreign []string
}

func (c *counting) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	c.stanzas = len(stanzas)
	for _, s := range stanzas {
		if s.Type != "X25519" && s.Type != "mlkem768x25519" {
			c.foreign = append(c.foreign, s.Type)
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// FuzzRevoked looks for a line that is taken and revokes nobody.
func FuzzRevoked(f *testing.F) {
	f.Add(string(keyFile(f, "revoked")))
	f.Add("principal:acme/host-17\nSHA256:" + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRevoked(strings.NewReader(text))
		if err != nil {
			require.Nil(t, r)
			return
		}
		for name := range r.principals {
			require.True(t, exactName(name), name)
		}
		for print := range r.fingerprints {
			require.Len(t, print, len("SHA256:")+43)
		}
		distinct := map[string]bool{}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				distinct[strings.Join(strings.Fields(line), " ")] = true
			}
		}
		require.LessOrEqual(t, r.Len(), len(distinct))
		require.Equal(t, r.Len() == 0, len(distinct) == 0)
	})
}

// FuzzKeyFiles looks for a file that is taken and makes no flare, or whose error
// quotes it.
func FuzzKeyFiles(f *testing.F) {
	for _, name := range []string{"recipients_classic.txt", "recovery_classic.key", "recipients.txt", "recovery.key"} {
		f.Add(string(keyFile(f, name)))
	}
	f.Add("# comment\r\n\r\nage1x\nAGE-SECRET-KEY-PQ-1X\nAGE-SECRET-KEY-1X")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseRecipients(strings.NewReader(text), true)
		require.Equal(t, err == nil, len(list) > 0)
		require.LessOrEqual(t, len(list), maxStanzas)
		ids, err := ParseIdentities(strings.NewReader(text))
		require.Equal(t, err == nil, len(ids) > 0)
		require.LessOrEqual(t, len(ids), maxStanzas)
		if err != nil {
			require.NotContains(t, err.Error(), "SECRET-KEY-1X")
		}
	})
}

// FuzzSigner looks for a signing key or certificate that is taken and whose
// flares nobody could take.
func FuzzSigner(f *testing.F) {
	f.Add(keyFile(f, "agent_ed25519"), []byte(nil))
	f.Add(keyFile(f, "certified_ed25519"), keyFile(f, "certified_ed25519-cert.pub"))
	f.Fuzz(func(t *testing.T, key, cert []byte) {
		signer, err := ParseSigner(key, cert)
		if err != nil {
			require.Nil(t, signer)
			return
		}
		text, err := sign(signer, []byte("manifest"))
		require.NoError(t, err)
		sig, err := parseSignature(text)
		require.NoError(t, err)
		require.NoError(t, sig.verify([]byte("manifest")))
		if c, ok := sig.key.(*ssh.Certificate); ok {
			name, err := certPrincipal(c)
			require.NoError(t, err)
			require.True(t, exactName(name))
		}
	})
}

// FuzzKeyID looks for a key that is two flares'.
func FuzzKeyID(f *testing.F) {
	f.Add("f/", Key("f/", testID))
	f.Add("f/", "f/a-1/"+testID+".age")
	f.Fuzz(func(t *testing.T, prefix, key string) {
		id, ok := KeyID(prefix, key)
		if !ok {
			return
		}
		require.True(t, frame.IsHex32(id))
		require.True(t, strings.HasPrefix(key, prefix) && strings.HasSuffix(key, id+".age"))
		require.LessOrEqual(t, strings.Count(key[len(prefix):], "/"), 1)
	})
}

// FuzzStored looks for a record that passes and whose decoder needs a larger
// window than a reader allows for.
func FuzzStored(f *testing.F) {
	f.Add([]byte(testRecord), int64(9))
	f.Add([]byte(frameHeader+"\x49\x00\x00self-test"), int64(9))
	f.Add([]byte("\x28\xb5\x2f\xfd\xa4\x00\x10\x00\x00"), int64(4096))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00\x69\x49\x00\x00self-test"), int64(9)) // a window of 9 MiB
	narrow, wide := windowed(f, maxWindow), windowed(f, 1<<30)
	room, otherRoom := make([]byte, 0, 1<<20), make([]byte, 0, 1<<20)
	f.Fuzz(func(t *testing.T, stored []byte, rawSize int64) {
		if checkStored(stored, rawSize) != nil || bytes.Contains(stored[1:], []byte(frameHeader[:4])) {
			return // what is behind the frame is not looked at
		}
		got, narrowErr := narrow.DecodeAll(stored, room)
		want, wideErr := wide.DecodeAll(stored, otherRoom)
		require.Equal(t, wideErr, narrowErr, "the window is not what fails")
		require.True(t, bytes.Equal(want, got))
	})
}

// windowed returns a decoder that fails where a frame needs more window, or has
// more content than there is room for. A limit of memory would be one of the
// window, too.
func windowed(f *testing.F, window uint64) *zstd.Decoder {
	f.Helper()
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window), zstd.WithDecodeAllCapLimit(true))
	require.NoError(f, err)
	f.Cleanup(d.Close)
	return d
}
