package receipt_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/receipt"
)

const batch = "0123456789abcdef0123456789abcdef.0.1"

var claim = receipt.Claim{Audience: "acme-prod", Signal: frame.Logs, BatchID: batch, Length: 262144}

// line is a key of a file; all 32 bytes of its secret are b.
func line(id string, b byte) string {
	return id + " " + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(b), 32))) + "\n"
}

func keys(t *testing.T, file string) *receipt.Keys {
	k, err := receipt.Parse([]byte(file))
	require.NoError(t, err)
	return k
}

// The form is a contract with every gateway and agent out there, so it is
// written out here once more instead of calling Sign.
func TestTheFormOfAReceipt(t *testing.T) {
	m := hmac.New(sha256.New, []byte(strings.Repeat("a", 32)))
	m.Write([]byte("lifeline-receipt v1\nacme-prod\nlogs\n" + batch + "\n262144"))
	want := "v1 2026-11 " + base64.StdEncoding.EncodeToString(m.Sum(nil))
	k := keys(t, line("2026-11", 'a'))
	require.Equal(t, want, k.Sign(claim))
	require.NoError(t, k.Verify(want, claim))
	require.Equal(t, "lifeline-receipt", receipt.Header)
}

func TestTheFirstKeySignsAndAnyVerifies(t *testing.T) {
	old, next := line("old", 'a'), line("new", 'b')
	before, during, after := keys(t, old), keys(t, next+old), keys(t, next)
	require.NoError(t, during.Verify(before.Sign(claim), claim))
	require.NoError(t, after.Verify(during.Sign(claim), claim))
	require.ErrorIs(t, after.Verify(before.Sign(claim), claim), receipt.ErrWrong)
	require.ErrorContains(t, before.Verify(after.Sign(claim), claim), `key "new" is not in the key file`)
}

func TestAReceiptIsForOneRequestOnly(t *testing.T) {
	k := keys(t, line("k", 'a'))
	for name, change := range map[string]func(*receipt.Claim){
		"audience": func(c *receipt.Claim) { c.Audience = "" },
		"signal":   func(c *receipt.Claim) { c.Signal = frame.Traces },
		"batch":    func(c *receipt.Claim) { c.BatchID = batch[:32] },
		"length":   func(c *receipt.Claim) { c.Length++ },
	} {
		other := claim
		change(&other)
		err := k.Verify(k.Sign(other), claim)
		require.ErrorIs(t, err, receipt.ErrWrong, name)
		require.ErrorContains(t, err, "did not make it for this request", name)
	}
}

func TestVerifyRefuses(t *testing.T) {
	k := keys(t, line("k", 'a'))
	good := k.Sign(claim)
	require.ErrorIs(t, k.Verify("", claim), receipt.ErrMissing)
	forged := keys(t, line("k", 'b')).Sign(claim)
	for name, bad := range map[string]string{
		"other secret":  forged,
		"other version": "v2" + good[2:],
		"no mac":        "v1 k",
		"more words":    good + " x",
		"spaces":        "v1  k " + good[5:],
		"not base64":    "v1 k ???",
		"unpadded":      strings.TrimRight(good, "="),
		"short mac":     "v1 k " + base64.StdEncoding.EncodeToString([]byte("short")),
		"newline":       good + "\n",
	} {
		require.ErrorIs(t, k.Verify(bad, claim), receipt.ErrWrong, name)
	}
}

func TestParse(t *testing.T) {
	keys(t, "# made 2026-11-26\r\n\r\n  "+strings.TrimSuffix(line("a.B_c-1", 'a'), "\n")+"\r\n\n"+strings.TrimSuffix(line("b", 'b'), "\n"))
	secret := strings.Fields(line("k", 'a'))[1]
	for want, bad := range map[string]string{
		"no key found":          "# nothing\n\n",
		"line 2: 1 words":       "#\nk" + "\n",
		"line 1: 3 words":       strings.TrimSpace(line("k", 'a')) + " comment",
		"the key id must be":    line("k/1", 'a'),
		"1 to 64 letters":       line(strings.Repeat("k", 65), 'a'),
		`the key "k" is not`:    "k " + secret[:40],
		"padded standard":       "k " + strings.TrimRight(secret, "="),
		`key id "k" stands`:     line("k", 'a') + line("k", 'b'),
		"more than 16 keys":     line("a", 'a') + line("b", 'a') + line("c", 'a') + line("d", 'a') + line("e", 'a') + line("f", 'a') + line("g", 'a') + line("h", 'a') + line("i", 'a') + line("j", 'a') + line("k", 'a') + line("l", 'a') + line("m", 'a') + line("n", 'a') + line("o", 'a') + line("p", 'a') + line("q", 'a'),
		"longer than 65536 byt": strings.Repeat("#\n", 40<<10),
	} {
		_, err := receipt.Parse([]byte(bad))
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), secret[:8], "a secret stands in an error")
	}
}

// FuzzParse looks for panics, and for files whose keys do not verify what they
// signed.
func FuzzParse(f *testing.F) {
	f.Add([]byte(line("a", 'a')+"# x\n"+line("b", 'b')), "v1 a AAAA")
	f.Add([]byte("k \n"), "")
	f.Fuzz(func(t *testing.T, file []byte, value string) {
		k, err := receipt.Parse(file)
		if err != nil {
			return
		}
		signed := k.Sign(claim)
		require.NoError(t, k.Verify(signed, claim))
		if value != signed {
			require.Error(t, k.Verify(value, claim))
		}
	})
}
