package flare

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

// Our header is the one that the standard library writes for the same file.
func TestHeaderIsUstar(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 512, MaxObject} {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		require.NoError(t, w.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: signatureName, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR,
		}))
		h := ustarHeader(signatureName, size)
		require.Equal(t, buf.Bytes()[:block], h[:])
	}
}

// And what any tar reads: the whole archive, in order, with the padding last.
func TestArchiveIsReadByTheStandardLibrary(t *testing.T) {
	m := testManifest()
	require.NoError(t, m.fill(testFrames()))
	var buf bytes.Buffer
	require.NoError(t, writeArchive(&buf, archive{[]byte("manifest"), []byte("sig"), m.Records, testFrames()}))
	require.Equal(t, padme(int64(buf.Len())), int64(buf.Len()))
	var names []string
	r := tar.NewReader(&buf)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		require.Equal(t, tar.FormatUSTAR, h.Format)
		names = append(names, h.Name)
	}
	require.Equal(t, []string{
		manifestName, signatureName, "000001.traces.binpb.zst", "000002.logs.binpb.zst",
		"000003.metrics.binpb.zst", "000004.traces.binpb.zst", paddingName,
	}, names)
}

// small and file accept their header and nothing that differs by one bit, so
// there is no type, owner, link, extension or second spelling to exploit.
func TestEveryBitOfAHeaderCounts(t *testing.T) {
	content := []byte("content")
	var entry bytes.Buffer
	require.NoError(t, writeEntry(&entry, manifestName, int64(len(content)), frame.Bytes(content)))
	for bit := range block * 8 {
		damaged := bytes.Clone(entry.Bytes())
		damaged[bit/8] ^= 1 << (bit % 8)
		r := &ustarReader{r: bytes.NewReader(damaged), max: 1 << 20}
		_, err := r.small(manifestName, maxManifest)
		require.Error(t, err, "bit %d", bit)
		r = &ustarReader{r: bytes.NewReader(damaged), max: 1 << 20}
		_, err = r.file(manifestName, int64(len(content)))
		require.Error(t, err, "bit %d", bit)
	}
}

func TestEntrySizes(t *testing.T) {
	for _, size := range []int{1, 511, 512, 513, 1023, 1024, 1025, 8191, 8192, 8193} {
		content := bytes.Repeat([]byte("x"), size)
		var buf bytes.Buffer
		require.NoError(t, writeEntry(&buf, manifestName, int64(size), frame.Bytes(content)))
		require.Equal(t, entrySize(int64(size)), int64(buf.Len()))
		r := &ustarReader{r: iotest.OneByteReader(&buf), max: 1 << 20}
		got, err := r.small(manifestName, maxManifest)
		require.NoError(t, err)
		require.Equal(t, content, got)
		require.Equal(t, entrySize(int64(size)), r.n)
	}
}

// Sizes are claims: a short stream that announces much costs no memory.
func TestAHugeClaimCostsNothing(t *testing.T) {
	h := ustarHeader(manifestName, maxManifest)
	hostile := ustarHeader(manifestName, 8<<30-1) // the most that 11 octal digits hold
	got := testing.AllocsPerRun(1, func() {
		r := &ustarReader{r: bytes.NewReader(h[:]), max: 1000}
		_, err := r.small(manifestName, maxManifest)
		require.ErrorIs(t, err, errCutOff)
		r = &ustarReader{r: bytes.NewReader(hostile[:]), max: 1000}
		_, err = r.small(manifestName, maxManifest)
		require.ErrorContains(t, err, "must be 1 to 4194304")
	})
	require.Less(t, got, 50.0)
}

func TestEmptyManifestIsRefused(t *testing.T) {
	h := ustarHeader(manifestName, 0)
	_, err := (&ustarReader{r: bytes.NewReader(h[:]), max: 1000}).small(manifestName, maxManifest)
	require.ErrorContains(t, err, "must be 1 to")
}

// A stream that breaks is not a stream that ends.
func TestEndNeedsACleanEOF(t *testing.T) {
	var end bytes.Buffer
	h := ustarHeader(paddingName, paddingSize(0))
	end.Write(h[:])
	require.NoError(t, writeZeros(&end, paddingSize(0)+endOfArchive))
	clean := &ustarReader{r: bytes.NewReader(end.Bytes()), max: 1 << 20}
	require.NoError(t, clean.end())
	broken := &ustarReader{r: io.MultiReader(bytes.NewReader(end.Bytes()), iotest.ErrReader(errDisk)), max: 1 << 20}
	require.ErrorIs(t, broken.end(), errDisk)
}

func TestPadme(t *testing.T) {
	for n, want := range map[int64]int64{
		0: 0, 1: 1, 2: 2, 9: 10, 100: 104, 1000: 1024, 1_000_000: 1_015_808, 1 << 20: 1 << 20, 1<<20 + 1: 1<<20 + 1<<15,
	} {
		require.Equal(t, want, padme(n), "%d", n)
	}
	for n := int64(block); n < 8<<20; n += block {
		p := padme(n)
		require.GreaterOrEqual(t, p, n)
		require.LessOrEqual(t, p, n+n*12/100+1)
		require.Zero(t, p%block)
		require.Equal(t, p, padme(p), "padding is stable")
	}
}
