package flare

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// looked shows an Opener the beginning of an object, as much as it asks for, and
// returns how much that was each time, and what it says in the end.
func looked(p *Opener, o Object, data []byte) (needs []int64, err error) {
	for have := int64(0); have < MaxObject; {
		need, err := p.Look(o, data[:have])
		if err != nil {
			return needs, err
		}
		needs = append(needs, need)
		have = min(need, int64(len(data)))
		if have < need {
			return needs, nil
		}
	}
	return needs, nil
}

// largeBy makes flares of more than signedSize, by signer, with a manifest of
// manifest bytes at least.
func largeBy(manifest int) forgery {
	return forgery{
		frames: func(f []frame.Frame) []frame.Frame {
			f[0].Stored = append(frame.Bytes(frameHeader), make([]byte, 2*signedSize)...)
			return f
		},
		manifest: func(raw []byte) []byte {
			more := fmt.Sprintf(`,"more":%q}`, strings.Repeat("x", manifest))
			return append(raw[:bytes.LastIndexByte(raw, '}')], more...)
		},
	}
}

// sight is a flare, and what is to be seen of it at which size.
type sight struct {
	name     string
	manifest int // its least size
	change   func(*forgery)
	needs    []int64
	reason   string
}

func sights(t *testing.T) []sight {
	stranger := freshSigner(t)
	sixteen := func([]age.Recipient) []age.Recipient {
		return slices.Concat(slices.Repeat(recipients(t, "recipients.txt"), maxStanzas)[:maxStanzas])
	}
	says := func(change func(*Manifest)) func(*forgery) { return func(f *forgery) { f.fields = change } }
	ended := says(func(m *Manifest) { m.Created.Time = testTime.AddDate(1, 0, 0) })
	another := says(func(m *Manifest) { m.Audience = "acme-test" })
	stored := func(days int) func(*forgery) {
		return func(f *forgery) { f.object = func(o *Object) { o.LastModified = testTime.AddDate(0, 0, days) } }
	}
	flawed := func(f *forgery) { f.signed = replace(`"seq":3`, `"seq":4`) }
	short, long, all := []int64{HeadSize}, []int64{HeadSize, signedSize}, int64(MaxObject)
	const most = maxManifest - 2<<10
	return []sight{
		{"good", 0, func(*forgery) {}, append(short, all), ""},
		{"good, most recipients", 0, func(f *forgery) { f.to = sixteen }, append(short, all), ""},
		{"good, large manifest", ageChunk, func(*forgery) {}, append(long, all), ""},
		{"good, largest manifest", most, func(*forgery) {}, append(long, all), ""},
		{"good, largest manifest, most recipients", most, func(f *forgery) { f.to = sixteen }, append(long, all), ""},
		{"manifest too large", maxManifest, func(*forgery) {}, short, Malformed},
		{"stranger", 0, func(f *forgery) { f.signer = stranger }, short, UnknownSigner},
		{"stranger, large manifest", ageChunk, func(f *forgery) { f.signer = stranger }, long, UnknownSigner},
		{"stranger, largest manifest", most, func(f *forgery) { f.signer = stranger }, long, UnknownSigner},
		{"revoked", 0, func(f *forgery) { f.opener = revoke(t, "principal:acme/host-17") }, short, RevokedKey},
		{"revoked, large manifest", ageChunk, func(f *forgery) { f.opener = revoke(t, "principal:acme/host-17") }, long, RevokedKey},
		{"not what was signed", 0, flawed, short, BadSignature},
		{"not what was signed, large manifest", ageChunk, flawed, long, BadSignature},
		{"against a rule", 0, says(func(m *Manifest) { m.Reason = "bored" }), short, Malformed},
		{"of a newer version", 0, func(f *forgery) {
			f.records = func(m *Manifest, _ []frame.Frame) { m.Critical = []string{"colour"} }
		}, short, NeedsNewer},
		{"certificate ended", 0, func(f *forgery) { f.signer = certSigner(t); ended(f) }, short, ExpiredCertificate},
		{"another audience", 0, another, short, OtherAudience},
		{"another audience, largest manifest", most, another, long, OtherAudience},
		{"another audience, damaged behind the signature", 0, func(f *forgery) { another(f); f.sealed = flip(-1) }, short, OtherAudience},
		{"another audience, another id, stored too late", 0, func(f *forgery) {
			stored(15)(f)
			f.fields = func(m *Manifest) { m.Audience, m.FlareID = "acme-test", strings.Repeat("0", 32) }
		}, short, OtherAudience},
		{"another id", 0, says(func(m *Manifest) { m.FlareID = strings.Repeat("0", 32) }), short, IDMismatch},
		{"stored too late", 0, stored(15), short, Stale},
		{"from the future", 0, stored(-2), short, Clock},
		{"from a future that has come", 0, func(f *forgery) {
			f.object = func(o *Object) { o.LastModified, o.Date = testTime.AddDate(0, 0, -2), testTime }
		}, append(short, all), ""},
		{"no archive", 0, func(f *forgery) { f.archive = flip(0) }, short, Malformed},
		{"damaged in the first chunk", 0, func(f *forgery) { f.sealed = flip(1 << 10) }, short, Malformed},
		{"damaged behind the signature", 0, func(f *forgery) { f.sealed = flip(-1) }, append(short, all), ""},
		{"no identity", 0, func(f *forgery) { f.opener = func(p *Opener) { p.Identities = p.Identities[:1] } }, short, NoIdentity},
		{"no flare", 0, func(f *forgery) { f.sealed = flip(0) }, short, Malformed},
	}
}

// TestLook: who can open a flare, who signed it, what for and when, is told by its
// first bytes: by few of them, unless the manifest is a large one.
func TestLook(t *testing.T) {
	for _, c := range sights(t) {
		t.Run(c.name, func(t *testing.T) {
			f := largeBy(c.manifest)
			c.change(&f)
			data := f.forge(t)
			p, o := f.reader(t)
			needs, err := looked(p, o, data)
			require.Equal(t, c.needs, needs)
			if c.reason == "" {
				require.NoError(t, err)
				return
			}
			why, _ := errors.AsType[*Error](err)
			require.Equal(t, c.reason, why.Reason)
			_, opened := p.Open(o, data)
			requireSame(t, opened, err)
		})
	}
}

// A small object that claims a large manifest gets no memory for it, and is not
// judged by its claim.
func TestLookBelievesNoSize(t *testing.T) {
	f := forgery{archive: func(tar []byte) []byte {
		h := ustarHeader(manifestName, maxManifest)
		return append(append(h[:], tar[block:]...), make([]byte, HeadSize)...)
	}}
	data := f.forge(t)
	p := testOpener(t)
	var needs []int64
	var err error
	memory := allocated(func() { needs, err = looked(p, storedAs(testID), data) })
	require.NoError(t, err)
	require.Equal(t, []int64{HeadSize, signedSize}, needs)
	require.Less(t, memory, int64(4*ageChunk))
}
