package flare

import (
	"bytes"
	"strings"
	"testing"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/stretchr/testify/require"
)

func TestAgeHeader(t *testing.T) {
	require.NoError(t, checkAgeHeader(forgery{}.forge(t)))
	sixteen := func(list []age.Recipient) []age.Recipient {
		for len(list) < maxStanzas {
			list = append(list, list[0])
		}
		return list
	}
	_, err := forgery{to: sixteen}.open(t)
	require.NoError(t, err)
}

// Nothing but the native recipients' code may ever look at a stranger's bytes.
func TestAgeHeaderRefused(t *testing.T) {
	const intro = "age-encryption.org/v1\n"
	scrypt, err := age.NewScryptRecipient("passphrase")
	require.NoError(t, err)
	scrypt.SetWorkFactor(10)
	seal := func(to func([]age.Recipient) []age.Recipient) []byte { return ageSeal(t, to, []byte("x")) }
	var armored bytes.Buffer
	w := agearmor.NewWriter(&armored)
	_, err = w.Write(forgery{}.forge(t))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for name, data := range map[string][]byte{
		"empty":     nil,
		"garbage":   []byte("garbage"),
		"armored":   armored.Bytes(),
		"old intro": []byte("age-encryption.org/v0\n--- \n"),
		"scrypt":    seal(func([]age.Recipient) []age.Recipient { return []age.Recipient{scrypt} }),
		"17": seal(func(list []age.Recipient) []age.Recipient {
			for len(list) <= maxStanzas {
				list = append(list, list[0])
			}
			return list
		}),
		"plugin":         []byte(intro + "-> yubikey x\nAAAA\n--- AAAA\n"),
		"SSH":            []byte(intro + "-> ssh-ed25519 x y\nAAAA\n--- AAAA\n"),
		"type as prefix": []byte(intro + "-> X25519x a\nAAAA\n--- AAAA\n"),
		"no end":         []byte(intro + "-> X25519 a\n"),
		"one long line":  []byte(intro + strings.Repeat("A", 1<<20)),
		"too long":       []byte(intro + "-> X25519 a\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 1100) + "--- AAAA\n"),
	} {
		t.Run(name, func(t *testing.T) {
			require.Error(t, checkAgeHeader(data))
			_, err := testOpener(t).Open(storedAs(testID), data)
			requireReason(t, err, true, Malformed)
		})
	}
}
