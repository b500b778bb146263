package flare

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// attack is what a stranger, a thief, a broken disk or an operator's mistake can
// do to a flare, and what a reader must say to it.
type attack struct {
	name   string
	f      forgery
	bad    bool
	reason string
}

// attacks are all of them, layer by layer from the outside in.
func attacks(t testing.TB) []attack {
	var all []attack
	for _, layer := range []func(testing.TB) []attack{
		attacksOnTheObject, attacksOnAge, attacksOnTar, attacksOnTrust, attacksOnTheManifest, attacksOnRecords,
	} {
		all = append(all, layer(t)...)
	}
	return all
}

// TestRefused: no attack gets a record out of a reader, or more memory than a
// good flare of the same size; each has its reason.
func TestRefused(t *testing.T) {
	list := attacks(t)
	require.Greater(t, len(list), 100)
	seen := map[string]bool{}
	salvaged, byHead := 0, 0
	for _, a := range list {
		require.False(t, seen[a.name], a.name)
		seen[a.name] = true
		t.Run(a.name, func(t *testing.T) {
			data := a.f.forge(t)
			p, o := a.f.reader(t)
			var f *Flare
			var err error
			memory := allocated(func() { f, err = p.Open(o, data) })
			require.Nil(t, f, "nothing is released")
			requireReason(t, err, a.bad, a.reason)
			require.True(t, printable(err.Error(), 1000), "an error goes into a log: %q", err)
			require.LessOrEqual(t, memory, memoryBound(data))
			salvaged += a.salvage(t, p, o, data)
			byHead += a.judged(t, p, o, data)
		})
	}
	require.Greater(t, byHead, 120, "the head says what the whole does")
	require.Greater(t, salvaged, 30, "what is wrong only behind the manifest")
}

// salvage asserts that nothing is salvaged of a flare that fails a check in front
// of its records, and nothing behind one that is not what was signed. It returns
// how many flares were salvaged: 0 or 1.
func (a attack) salvage(t *testing.T, p *Opener, o Object, data []byte) int {
	f, damage, err := p.Salvage(o, data)
	if err != nil {
		requireReason(t, err, a.bad, a.reason)
		require.Nil(t, f)
		return 0
	}
	require.True(t, a.bad, "who it is from was settled before")
	requireReason(t, damage, true, a.reason)
	require.Less(t, len(f.Frames), len(f.Manifest.Records)+1)
	return 1
}

// judged asserts that no beginning of a flare that holds its age header is judged in
// another way than the whole. It returns whether one was judged by less: 0 or 1.
func (a attack) judged(t *testing.T, p *Opener, o Object, data []byte) int {
	judged := 0
	for _, n := range []int{8 << 10, len(data) / 2, len(data) - 1} {
		if n < 4<<10 || n >= len(data) {
			continue
		}
		if _, _, err := p.verify(o, data[:n], ends{}); err != nil && !errors.Is(err, errCutOff) {
			requireReason(t, err, a.bad, a.reason)
			judged = 1
		}
	}
	return judged
}

// memoryBound is what reading may allocate in all, garbage included: a few times
// what somebody paid to send.
func memoryBound(data []byte) int64 { return 8*int64(len(data)) + 1<<20 }

// A stranger's flare costs its first chunk, however large it is: nothing behind
// the signature is read.
func TestAForgeryCostsOneChunk(t *testing.T) {
	large := forgery{signer: freshSigner(t), frames: func(f []frame.Frame) []frame.Frame {
		f[0].Stored = make(frame.Bytes, 32<<20)
		return f
	}}
	data := large.forge(t)
	p, o := large.reader(t)
	var err error
	memory := allocated(func() { _, err = p.Open(o, data) })
	requireReason(t, err, false, UnknownSigner)
	require.Less(t, memory, int64(8*ageChunk))
}

// allocated returns the bytes that f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc) //nolint:gosec // it never reaches 2^63
}

func attacksOnTheObject(testing.TB) []attack {
	id := func(text string) func(*Object) { return func(o *Object) { o.ID = text } }
	return []attack{
		{"id is a path", forgery{object: id("../etc/passwd")}, true, Malformed},
		{"id in upper case", forgery{object: id(strings.ToUpper(testID))}, true, Malformed},
		{"replayed under another id", forgery{object: id(strings.Repeat("0", 32))}, true, IDMismatch},
		{"replayed after max_age", forgery{object: func(o *Object) { o.LastModified = testTime.AddDate(0, 0, 15) }}, false, Stale},
		{"from the future", forgery{object: func(o *Object) { o.LastModified = testTime.AddDate(0, 0, -2) }}, false, Clock},
		{"too large", forgery{sealed: func([]byte) []byte { return make([]byte, MaxObject+1) }}, true, Malformed},
		{"empty", forgery{sealed: func([]byte) []byte { return nil }}, true, Malformed},
		{"cut to one byte", forgery{sealed: func(b []byte) []byte { return b[:1] }}, true, Malformed},
		{"one byte cut off", forgery{sealed: cut(1)}, true, Malformed},
		{"last chunk cut off", forgery{sealed: cut(20_000)}, true, Malformed},
		{"bytes behind", forgery{sealed: add("x")}, true, Malformed},
		{"twice in one object", forgery{sealed: func(b []byte) []byte { return append(b, b...) }}, true, Malformed},
		{"armored", forgery{sealed: func([]byte) []byte { return []byte("-----BEGIN AGE ENCRYPTED FILE-----\n") }}, true, Malformed},
	}
}

func attacksOnAge(t testing.TB) []attack {
	scrypt, err := age.NewScryptRecipient("passphrase")
	require.NoError(t, err)
	scrypt.SetWorkFactor(10)
	only := func(r age.Recipient) func([]age.Recipient) []age.Recipient {
		return func([]age.Recipient) []age.Recipient { return []age.Recipient{r} }
	}
	times := func(n int) func([]age.Recipient) []age.Recipient {
		return func(list []age.Recipient) []age.Recipient {
			for len(list) < n {
				list = append(list, list[1]) // the break-glass key: foreign to recovery
			}
			return list
		}
	}
	// The first stanza's key share, the first byte of its body, the MAC.
	share := func(b []byte) int { return strings.Index(string(b), "-> X25519 ") + len("-> X25519 ") }
	body := func(b []byte) int { return share(b) + strings.IndexByte(string(b[share(b):]), '\n') + 1 }
	mac := func(b []byte) int { return strings.Index(string(b), "\n--- ") + len("\n--- ") }
	payload := func(b []byte) int { return mac(b) + strings.IndexByte(string(b[mac(b):]), '\n') + 1 }
	const nonce, chunk = 16, ageChunk + ageTag
	return []attack{
		{"not for us", forgery{to: func([]age.Recipient) []age.Recipient { return recipients(t, "recipients_classic.txt")[1:] }}, false, NoIdentity},
		{"16 foreign recipients", forgery{to: func(list []age.Recipient) []age.Recipient { return times(17)(list)[1:] }}, false, NoIdentity},
		{"17 recipients", forgery{to: times(17)}, true, Malformed},
		{"1024 recipients", forgery{to: times(1024)}, true, Malformed},
		{"a passphrase", forgery{to: only(scrypt)}, true, Malformed},
		{"another version of age", forgery{sealed: replace("org/v1\n", "org/v2\n")}, true, Malformed},
		{"intro changed", forgery{sealed: flip(3)}, true, Malformed},
		{"type of a stanza changed", forgery{sealed: replace("-> X25519 ", "-> X25518 ")}, true, Malformed},
		{"a stanza of a plugin", forgery{sealed: replace("-> X25519 ", "-> yubikey x\nAAAA\n-> X25519 ")}, true, Malformed},
		{"a stanza of SSH", forgery{sealed: replace("-> X25519 ", "-> ssh-ed25519 x y\nAAAA\n-> X25519 ")}, true, Malformed},
		{"a stanza that an attacker adds", forgery{sealed: replace("-> X25519 ", "-> X25519 AAAA\nAAAA\n-> X25519 ")}, true, Malformed},
		{"key share of ours changed", forgery{sealed: letter(share)}, false, NoIdentity},
		{"wrapped key of ours changed", forgery{sealed: letter(body)}, false, NoIdentity},
		{"MAC changed", forgery{sealed: letter(mac)}, true, Malformed},
		{"header without an end", forgery{sealed: func(b []byte) []byte { return b[:mac(b)-4] }}, true, Malformed},
		{"a header of 2 MiB", forgery{sealed: func([]byte) []byte {
			return []byte("age-encryption.org/v1\n-> X25519 A\n" + strings.Repeat(strings.Repeat("A", 64)+"\n", 32<<10))
		}}, true, Malformed},
		{"nonce changed", forgery{sealed: at(payload, 0)}, true, Malformed},
		{"first chunk changed", forgery{sealed: at(payload, nonce)}, true, Malformed},
		{"tag of the first chunk changed", forgery{sealed: at(payload, nonce+chunk-1)}, true, Malformed},
		{"second chunk changed", forgery{sealed: at(payload, nonce+chunk)}, true, Malformed},
		{"last tag changed", forgery{sealed: flip(-1)}, true, Malformed},
		{"cut between two chunks", forgery{sealed: func(b []byte) []byte { return b[:payload(b)+nonce+chunk] }}, true, Malformed},
		{"cut behind the header", forgery{sealed: func(b []byte) []byte { return b[:payload(b)] }}, true, Malformed},
		{"chunks swapped", forgery{
			frames: func(f []frame.Frame) []frame.Frame { f[2].Stored = make(frame.Bytes, 4*ageChunk); return f },
			sealed: func(b []byte) []byte {
				first := payload(b) + nonce
				one := string(b[first : first+chunk])
				copy(b[first:], b[first+chunk:first+2*chunk])
				copy(b[first+chunk:], one)
				return b
			},
		}, true, Malformed},
	}
}

// at flips a bit offset bytes behind a place.
func at(place func([]byte) int, offset int) func([]byte) []byte {
	return func(b []byte) []byte { return flip(place(b) + offset)(b) }
}

// letter changes a letter of base64, for another one that has a meaning.
func letter(place func([]byte) int) func([]byte) []byte {
	return func(b []byte) []byte {
		i := place(b)
		if b[i] != 'A' {
			b[i] = 'A'
		} else {
			b[i] = 'B'
		}
		return b
	}
}

func attacksOnTrust(t testing.TB) []attack {
	plain := string(ssh.MarshalAuthorizedKey(plainSigner(t).PublicKey()))
	cert, _ := certSigner(t).PublicKey().(*ssh.Certificate)
	ca := string(ssh.MarshalAuthorizedKey(cert.SignatureKey))
	stranger := freshSigner(t)
	_, ecdsa := otherSigners(t)
	print := ssh.FingerprintSHA256
	return []attack{
		{"no identity", forgery{opener: func(p *Opener) { p.Identities = nil }}, false, NoIdentity},
		{"nobody is trusted", forgery{opener: func(p *Opener) { p.Signers = nil }}, false, UnknownSigner},
		{"a stranger's key", forgery{signer: stranger}, false, UnknownSigner},
		{"a stranger's key and a bad signature", forgery{signer: stranger, signed: add(" ")}, false, UnknownSigner},
		{"a stranger's certificate", forgery{signer: certify(t, stranger, "initech/web-1", nil)}, false, UnknownSigner},
		{"a principal that the authority may not certify", forgery{signer: certSigner(t), opener: trust(t, "acme/* cert-authority "+ca)}, false, UnknownSigner},
		{"the authority's own key", forgery{opener: trust(t, "acme/* cert-authority "+plain)}, false, UnknownSigner},
		{"a key for other work", forgery{opener: trust(t, `a namespaces="git" `+plain+"\nb "+string(ssh.MarshalAuthorizedKey(stranger.PublicKey())))}, false, UnknownSigner},
		{"a certificate for everybody", forgery{signer: certify(t, stranger, "initech/*", nil)}, false, UnknownSigner},
		{"revoked key", forgery{opener: revoke(t, print(plainSigner(t).PublicKey()))}, true, RevokedKey},
		{"revoked stranger", forgery{signer: stranger, opener: revoke(t, print(stranger.PublicKey()))}, true, RevokedKey},
		{"revoked principal", forgery{opener: revoke(t, "principal:acme/host-17")}, true, RevokedKey},
		{"revoked certified key", forgery{signer: certSigner(t), opener: revoke(t, print(cert.Key))}, true, RevokedKey},
		{"revoked serial", forgery{signer: publishedCert(t, "initech/web-2", 43)}, true, RevokedKey},
		{"revoked authority", forgery{signer: certSigner(t), opener: revoke(t, print(cert.SignatureKey))}, true, RevokedKey},
		{"revoked certified principal", forgery{signer: certSigner(t), opener: revoke(t, "principal:initech/web-1")}, true, RevokedKey},
		{"manifest changed", forgery{signed: replace(`"seq":3`, `"seq":4`)}, true, BadSignature},
		{"manifest longer", forgery{signed: add("\n")}, true, BadSignature},
		{"manifest of another flare", forgery{signed: replace(testID, strings.Repeat("0", 32))}, true, BadSignature},
		{"certificate changed", forgery{signer: changedCert{certSigner(t)}}, true, BadSignature},
		{"signed for git", forgery{sig: func([]byte) []byte { return blob(t, func(b *sigBlob) { b.Namespace = "git" }) }}, true, Malformed},
		{"signed with another hash", forgery{sig: func([]byte) []byte { return blob(t, func(b *sigBlob) { b.Hash = "sha256" }) }}, true, Malformed},
		{"signed by ECDSA", forgery{sig: func([]byte) []byte { return blob(t, func(b *sigBlob) { b.PublicKey = ecdsa.PublicKey().Marshal() }) }}, true, Malformed},
		{"no signature in it", forgery{sig: func([]byte) []byte { return []byte("sig") }}, true, Malformed},
		{"signature with a line behind", forgery{sig: add("\n")}, true, Malformed},
		{"signature without its last line", forgery{sig: cut(len(sigEnd))}, true, Malformed},
		{"certificate expired", forgery{signer: certSigner(t), fields: func(m *Manifest) { m.Created.Time = testTime.AddDate(1, 0, 0) }}, false, ExpiredCertificate},
		{"certificate not valid yet", forgery{signer: certSigner(t), fields: func(m *Manifest) { m.Created.Time = testTime.AddDate(-1, 0, 0) }}, false, ExpiredCertificate},
		{"line expired", forgery{opener: trust(t, `acme/host-17 valid-before="20260901Z" `+plain)}, false, ExpiredCertificate},
		{"line not valid yet", forgery{opener: trust(t, `acme/host-17 valid-after="20261001Z" `+plain)}, false, ExpiredCertificate},
	}
}

// publishedCert returns a signer certified by the published authority.
func publishedCert(t testing.TB, principal string, serial uint64) ssh.Signer {
	t.Helper()
	ca, err := ParseSigner(keyFile(t, "ca_ed25519"), nil)
	require.NoError(t, err)
	return certify(t, ca, principal, func(c *ssh.Certificate) { c.Serial = serial })
}

// changedCert signs well, with a certificate that its authority never signed.
type changedCert struct{ ssh.Signer }

func (c changedCert) PublicKey() ssh.PublicKey {
	cert, _ := c.Signer.PublicKey().(*ssh.Certificate)
	changed := *cert
	changed.Serial += 2
	return &changed
}

func attacksOnTheManifest(t testing.TB) []attack {
	seq := func(with string) func([]byte) []byte { return replace(`"seq":3`, `"seq":3,`+with) }
	record := func(old, with string) forgery { return forgery{manifest: replace(old, with)} }
	const first = `"name":"000001.traces.binpb.zst"`
	name := func(text string) forgery { return record(first, fmt.Sprintf(`"name":%q`, text)) }
	return []attack{
		{"other audience", forgery{fields: func(m *Manifest) { m.Audience = "acme-test" }}, false, OtherAudience},
		{"signed under another id", record(testID, strings.Repeat("0", 32)), true, IDMismatch},
		{"newer type", record("flare/v1", "flare/v2"), false, NeedsNewer},
		{"newer type of a stranger", forgery{manifest: replace("flare/v1", "flare/v2"), signer: freshSigner(t)}, false, UnknownSigner},
		{"critical field", forgery{manifest: seq(`"critical":["colour"]`)}, false, NeedsNewer},
		{"other type", record("lifeline.flare/v1", "application/json"), true, Malformed},
		{"no JSON", forgery{manifest: func([]byte) []byte { return []byte("manifest") }}, true, Malformed},
		{"JSON cut off", forgery{manifest: cut(3)}, true, Malformed},
		{"two documents", forgery{manifest: func(b []byte) []byte { return append(b, b...) }}, true, Malformed},
		{"a key twice", forgery{manifest: seq(`"seq":4`)}, true, Malformed},
		{"a key twice, escaped", forgery{manifest: seq(`"\u0073eq":4`)}, true, Malformed},
		{"a key twice, in another case", forgery{manifest: seq(`"SEQ":4`)}, true, Malformed},
		{"a key twice in a record", record(`"size":19`, `"size":19,"size":20`), true, Malformed},
		{"an object twice", forgery{manifest: seq(`"lost":{}`)}, true, Malformed},
		{"not UTF-8", record("connect:", "\xff"), true, Malformed},
		{"nested deep", forgery{manifest: seq(`"x":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20))}, true, Malformed},
		{"a million records", record(`"records":[`, `"records":[`+strings.Repeat("{},", 1<<20)), true, Malformed},
		{"too many records", record(`"records":[`, `"records":[`+strings.Repeat("{},", MaxRecords)), true, Malformed},
		{"half a million keys", forgery{manifest: seq(`"x":{` + manyKeys(300_000) + `}`)}, true, Malformed},
		{"a long string", record(`"version":"v0.1.0"`, `"version":"`+strings.Repeat("v", 3<<20)+`"`), true, Malformed},
		{"no records", forgery{frames: func([]frame.Frame) []frame.Frame { return nil }}, true, Malformed},
		{"sums that lie", record(`"items":9`, `"items":10`), true, Malformed},
		{"a negative size", record(`"size":19`, `"size":-19`), true, Malformed},
		{"a size of 2^64", record(`"size":19`, `"size":18446744073709551635`), true, Malformed},
		{"a size of a fraction", record(`"size":19`, `"size":19.5`), true, Malformed},
		{"name is a path", name("../../etc/passwd"), true, Malformed},
		{"name is absolute", name("/etc/passwd"), true, Malformed},
		{"name with a NUL", name("000001.traces.binpb.zst\x00"), true, Malformed},
		{"name of another number", name("000002.traces.binpb.zst"), true, Malformed},
		{"name of another signal", record(first, `"name":"000001.metrics.binpb.zst"`), true, Malformed},
		{"metadata in the name of another", record(`"x-scope-orgid"`, `"lifeline-agent"`), true, Malformed},
		{"metadata that ends a header", record(`"meta":{"x-scope-orgid":["acme"`, `"meta":{"x-scope-orgid":["a\r\nb"`), true, Malformed},
		{"frame text that lies", record(`items=3`, `items=4`), true, Malformed},
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"k%d":1,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}
