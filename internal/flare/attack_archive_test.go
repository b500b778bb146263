package flare

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
	"github.com/otel-lifeline/lifeline/internal/otlpcodec"
)

const firstRecord = "000001.traces.binpb.zst"

// header edits the header of the file called name, and makes its checksum right
// again.
func header(name string, edit func(h []byte)) func([]byte) []byte {
	return entries(func(list [][]byte) [][]byte {
		for _, e := range list {
			if bytes.HasPrefix(e, []byte(name+"\x00")) {
				edit(e[:block])
				checksum(e[:block])
				return list
			}
		}
		panic(name)
	})
}

func checksum(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// entries edits the list of an archive's entries, each a header and its content.
func entries(edit func([][]byte) [][]byte) func([]byte) []byte {
	return func(tar []byte) []byte {
		var list [][]byte
		rest := tar[:len(tar)-endOfArchive]
		for len(rest) > 0 {
			size, err := strconv.ParseInt(string(rest[124:135]), 8, 64)
			if err != nil {
				panic(err)
			}
			n := entrySize(size)
			list = append(list, bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		return append(bytes.Join(edit(list), nil), zeros[:endOfArchive]...)
	}
}

// entry returns an entry as an attacker writes it.
func entry(name string, kind byte, content string) []byte {
	h := ustarHeader(name, int64(len(content)))
	h[156] = kind
	checksum(h[:])
	return append(append(h[:], content...), zeros[:roundUp(int64(len(content)))-int64(len(content))]...)
}

func put(offset int, text string) func([]byte) { return func(h []byte) { copy(h[offset:], text) } }

func attacksOnTar(testing.TB) []attack {
	var all []attack
	row := func(name string, archive func([]byte) []byte) {
		all = append(all, attack{name, forgery{archive: archive}, true, Malformed})
	}
	for _, c := range []struct{ kind, what string }{
		{"\x00", "an old file"},
		{"1", "a hard link"},
		{"2", "a symbolic link"},
		{"3", "a character device"},
		{"4", "a block device"},
		{"5", "a folder"},
		{"6", "a FIFO"},
		{"7", "a contiguous file"},
		{"x", "a pax header"},
		{"g", "a global pax header"},
		{"L", "a long name"},
		{"K", "a long link"},
		{"S", "a sparse file"},
	} {
		row(c.what+" for a record", header(firstRecord, put(156, c.kind+"/etc/passwd")))
		row(c.what+" before the manifest", entries(func(l [][]byte) [][]byte {
			return append([][]byte{entry("x", c.kind[0], "19 path=/etc/passwd\n")}, l...)
		}))
	}
	for _, c := range []struct {
		what string
		edit func([]byte)
	}{
		{"a name of 100 bytes", put(0, strings.Repeat("a", 100))},
		{"a path", put(0, "../../etc/passwd\x00")},
		{"setuid", put(100, "0004755\x00")},
		{"an owner", put(108, "0001750\x00")},
		{"an owner's name", put(265, "root")},
		{"a time", put(136, "15124350000\x00")},
		{"a device number", put(329, "0000001\x00")},
		{"a prefix", put(345, "/etc")},
		{"magic of GNU tar", put(257, "ustar  \x00")},
		{"no magic", put(257, "\x00\x00\x00\x00\x00\x00\x00\x00")},
		{"bytes behind the header", put(500, "x")},
		{"a negative size", put(124, "-0000000023\x00")},
		{"a size in base 256", put(124, "\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x13")},
		{"a size below zero in base 256", put(124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")},
		{"a size of 12 digits", put(124, "000000000023")},
		{"a size behind blanks", put(124, "         23 \x00")},
		{"a size with a digit 9", put(124, "00000000019\x00")},
		{"another size", put(124, "00000000024\x00")},
		{"no size", put(124, "00000000000\x00")},
	} {
		row(c.what+" for a record", header(firstRecord, c.edit))
		if !strings.HasPrefix(c.what, "another") {
			row(c.what+" for the manifest", header(manifestName, c.edit))
		}
	}
	return append(all, attacksOnOrder()...)
}

func attacksOnOrder() []attack {
	const manifest, sig, first, second = 0, 1, 2, 3
	swap := func(a, b int) func([]byte) []byte {
		return entries(func(l [][]byte) [][]byte { l[a], l[b] = l[b], l[a]; return l })
	}
	insert := func(at int, e func(l [][]byte) []byte) func([]byte) []byte {
		return entries(func(l [][]byte) [][]byte { return append(l[:at:at], append([][]byte{e(l)}, l[at:]...)...) })
	}
	remove := func(at int) func([]byte) []byte {
		return entries(func(l [][]byte) [][]byte { return append(l[:at:at], l[at+1:]...) })
	}
	again := func(i int) func(l [][]byte) []byte { return func(l [][]byte) []byte { return l[i] } }
	const last = 6 // the padding, behind four records
	size := func(text string) func([]byte) []byte { return header(manifestName, put(124, text)) }
	var all []attack
	for name, archive := range map[string]func([]byte) []byte{
		"the signature first":              swap(manifest, sig),
		"records swapped":                  swap(first, second),
		"no signature":                     remove(sig),
		"no manifest":                      remove(manifest),
		"a record missing":                 remove(first),
		"no padding":                       remove(last),
		"two manifests":                    insert(1, again(manifest)),
		"two signatures":                   insert(2, again(sig)),
		"a record twice":                   insert(3, again(first)),
		"a record more":                    insert(last, func([][]byte) []byte { return entry("000005.logs.binpb.zst", '0', frameHeader) }),
		"padding twice":                    insert(last, again(last)),
		"padding before the records":       swap(first, last),
		"a block between two entries":      insert(2, func([][]byte) []byte { return zeros[:block] }),
		"the end before the records":       insert(2, func([][]byte) []byte { return zeros[:endOfArchive] }),
		"a manifest of 5 GiB":              size("50000000000\x00"),
		"a manifest of 4 MiB and a bit":    size("00020000001\x00"),
		"a manifest longer than all":       size("00020000000\x00"),
		"a checksum that is wrong":         entries(func(l [][]byte) [][]byte { l[first][150] ^= 1; return l }),
		"a checksum of seven digits":       entries(func(l [][]byte) [][]byte { copy(l[first][148:], "00"+string(l[first][148:154])); return l }),
		"what fills a block is not zero":   entries(func(l [][]byte) [][]byte { l[first][len(l[first])-1] = 1; return l }),
		"padding is not zero":              flip(-endOfArchive - 1),
		"padding of another size":          func(b []byte) []byte { return append(b, zeros[:2048]...) },
		"end is not zero":                  flip(-1),
		"archive cut to its end":           cut(endOfArchive),
		"archive cut within its end":       cut(block),
		"archive longer by a block":        add(string(zeros[:block])),
		"archive longer by a byte":         add("\x00"),
		"no archive":                       func([]byte) []byte { return nil },
		"a block of an archive":            func(b []byte) []byte { return b[:block] },
		"zeros for an archive":             func([]byte) []byte { return make([]byte, 8<<20) },
		"another archive behind this one":  func(b []byte) []byte { return append(b, b...) },
		"a signature longer than its most": header(signatureName, put(124, "00000020001\x00")),
	} {
		all = append(all, attack{name, forgery{archive: archive}, true, Malformed})
	}
	return all
}

func attacksOnRecords(testing.TB) []attack {
	stored := func(text string) func([]frame.Frame) []frame.Frame {
		return func(f []frame.Frame) []frame.Frame { f[0].Stored = frame.Bytes(text); return f }
	}
	const magic = "\x28\xb5\x2f\xfd"
	lie := func(manifest, tar string) forgery {
		return forgery{manifest: replace(`"size":19`, `"size":`+manifest), archive: header(firstRecord, put(124, tar))}
	}
	return []attack{
		{"record changed", forgery{archive: replace("stored traces", "stored tracez")}, true, Hash},
		{"records with their contents swapped", forgery{
			frames: func(f []frame.Frame) []frame.Frame { return f[:2] },
			records: func(m *Manifest, _ []frame.Frame) {
				m.Records[0].SHA256, m.Records[1].SHA256 = m.Records[1].SHA256, m.Records[0].SHA256
			},
		}, true, Hash},
		{"a size that lies in both places", lie("20", "00000000024\x00"), true, Hash},
		{"a size of 60 MiB in both places", lie("62914560", "00360000000\x00"), true, Malformed},
		{"records that hold more than an object", lie("67108864", "00400000000\x00"), true, Malformed},
		{"a zstd window of 512 MiB", forgery{frames: stored(magic + "\x00\x98 and what it asks for")}, true, Malformed},
		{"a zstd bomb that says so", forgery{frames: stored(magic + "\x80\x48\x00\x00\x00\x40 1 GiB")}, true, Malformed},
		{"a zstd bomb of one segment", forgery{frames: stored(magic + "\xa0\x00\x00\x00\x40 1 GiB")}, true, Malformed},
		{"a zstd dictionary", forgery{frames: stored(magic + "\x01\x48\x07 dictionary")}, true, Malformed},
		{"a skippable frame", forgery{frames: stored("\x50\x2a\x4d\x18\x04\x00\x00\x00skip")}, true, Malformed},
		{"gzip", forgery{frames: stored("\x1f\x8b\x08 gzip")}, true, Malformed},
		{"OTLP that is not compressed", forgery{frames: stored("\x0a\x00")}, true, Malformed},
		{"half a zstd header", forgery{frames: stored(magic)}, true, Malformed},
	}
}

// A bomb that does not say what it becomes can only be found by decoding, which a
// reader leaves to those who need it. It costs the reader nothing, and them no
// more than the manifest says.
func TestABombCostsWhatItSays(t *testing.T) {
	var bomb bytes.Buffer
	bomb.WriteString(frameHeader)
	const mebibytes = 64
	for i := range mebibytes * 8 { // blocks of 128 KiB of one byte
		last := i/(mebibytes*8-1) == 1
		n := 128<<10<<3 | 1<<1
		if last {
			n |= 1
		}
		bomb.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), 0}) //nolint:gosec // RFC 8878, 3.1.1.2
	}
	raw, err := otlpcodec.Decompress(frame.Bytes(bomb.Bytes()), mebibytes<<20)
	require.NoError(t, err, "it is one")
	require.Len(t, raw, mebibytes<<20)

	a := forgery{frames: func(f []frame.Frame) []frame.Frame { f[0].Stored = frame.Bytes(bomb.Bytes()); return f }}
	data := a.forge(t)
	p, o := a.reader(t)
	var f *Flare
	require.LessOrEqual(t, allocated(func() { f, err = p.Open(o, data) }), memoryBound(data))
	require.NoError(t, err)
	decode := allocated(func() { _, err = otlpcodec.Decompress(f.Frames[0].Stored, f.Frames[0].RawSize) })
	require.Error(t, err)
	require.Less(t, decode, int64(1<<20))
}
