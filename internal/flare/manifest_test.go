package flare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

func filled(t testing.TB) []byte {
	t.Helper()
	m := testManifest()
	require.NoError(t, m.fill(testFrames()))
	raw, err := encodeManifest(m)
	require.NoError(t, err)
	return raw
}

func TestManifestRoundTrip(t *testing.T) {
	m, err := decodeManifest(filled(t))
	require.NoError(t, err)
	again, err := encodeManifest(m)
	require.NoError(t, err)
	require.Equal(t, string(filled(t)), string(again), "one spelling for one manifest")
}

// edit changes one field of a good manifest, by its path.
func edit(t testing.TB, value any, path ...any) []byte {
	t.Helper()
	var doc map[string]any
	dec := json.NewDecoder(bytes.NewReader(filled(t)))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&doc))
	at := any(doc)
	for _, step := range path[:len(path)-1] {
		switch s := step.(type) {
		case string:
			m, ok := at.(map[string]any)
			require.True(t, ok)
			at = m[s]
		case int:
			l, ok := at.([]any)
			require.True(t, ok)
			at = l[s]
		}
	}
	m, ok := at.(map[string]any)
	require.True(t, ok)
	m[fmt.Sprint(path[len(path)-1])] = value
	raw, err := json.Marshal(doc)
	require.NoError(t, err)
	return raw
}

func TestManifestRefused(t *testing.T) {
	long := strings.Repeat("x", maxReport)
	r := func(field string) []any { return []any{"records", 0, field} }
	for _, c := range []struct {
		value any
		path  []any
		want  string
	}{
		{"x", []any{"flare_id"}, "flare_id"},
		{strings.ToUpper(testBoot), []any{"boot_id"}, "boot_id"},
		{0, []any{"seq"}, "seq"},
		{-1, []any{"seq"}, "seq"},
		{1.5, []any{"seq"}, "seq"},
		{uint64(1e15), []any{"seq"}, "seq 1000000000000000: must be at most 999999999999999"},
		{uint64(math.MaxUint64), []any{"seq"}, "seq 18446744073709551615"},
		{"1\nstate\tgood\x1b[8m", []any{"report", "version"}, "version is not printable"},
		{"a\nb", []any{"agent"}, "agent"},
		{strings.Repeat("a", maxAudience+1), []any{"audience"}, "audience"},
		{"bored", []any{"reason"}, "reason"},
		{make([]int, maxUnresolved+1), []any{"unresolved"}, "unresolved"},
		{"2026-09-21T06:31:00Z", []any{"created"}, "time"},
		{"2026-09-21T06:31:00.000+00:00", []any{"created"}, "time"},
		{"2026-09-21T06:31:00.0000Z", []any{"created"}, "time"},
		{"2026-02-30T06:31:00.000Z", []any{"created"}, "time"},
		{1790000000, []any{"created"}, "time"},
		{"0001-01-01T00:00:00.000Z", []any{"created"}, "created is missing"},
		{"2027-01-01T00:00:00.000Z", []any{"oldest"}, "newest is before oldest"},
		{map[string]int{"smells": 1}, []any{"lost"}, "lost"},
		{map[string]int{"logs": -1}, []any{"lost"}, "lost"},
		{long, []any{"report", "version"}, "report is longer"},
		{[]int{}, []any{"records"}, "0 records"},
		{make([]struct{}, MaxRecords+1), []any{"records"}, "more than 16384 elements"},
		{map[string]int{}, []any{"totals"}, "totals"},
		{99, []any{"totals", "logs", "items"}, "totals of logs"},
		{99, []any{"totals", "traces", "frames"}, "totals of traces"},
		{99, []any{"totals", "traces", "raw_bytes"}, "totals of traces"},
		{"000002.traces.binpb.zst", r("name"), "want 000001"},
		{"000001.smells.binpb.zst", r("name"), "want 000001"},
		{"../x", r("name"), "want 000001"},
		{0, r("size"), "size 0"},
		{MaxObject + 1, r("size"), "impossible"},
		{0, r("raw_size"), "raw_size 0"},
		{MaxRawSize + 1, r("raw_size"), "raw_size"},
		{-1, r("items"), "impossible"},
		{1001, r("items"), "impossible"},
		{4, r("items"), "frame says 3 items, the record 4"},
		{strings.Repeat("A", 64), r("sha256"), "sha256"},
		{strings.Repeat("a", 63), r("sha256"), "sha256"},
		{"x", r("batch_id"), "batch_id"},
		{"", r("frame"), "lifeline-frame"},
		{"seq=1", r("frame"), "lifeline-frame"},
	} {
		t.Run(fmt.Sprint(c.path, " ", c.want), func(t *testing.T) {
			_, err := decodeManifest(edit(t, c.value, c.path...))
			require.ErrorContains(t, err, c.want)
			require.NotErrorIs(t, err, errNewer)
		})
	}
}

func TestMetaRefused(t *testing.T) {
	manyKeys := map[string][]string{}
	for i := range maxMetaKeys + 1 {
		manyKeys[fmt.Sprintf("x-%d", i)] = []string{"a"}
	}
	manyValues := map[string][]string{}
	for i := range maxMetaKeys {
		manyValues[fmt.Sprintf("x-%d", i)] = make([]string, maxMetaValues)
	}
	large := strings.Repeat("a", maxMetaValue)
	for _, c := range []struct {
		meta map[string][]string
		want string
	}{
		{map[string][]string{"lifeline-agent": {"initech/web-1"}}, "may not travel"},
		{map[string][]string{"authorization": {"Bearer x"}}, "may not travel"},
		{map[string][]string{"content-length": {"1"}}, "may not travel"},
		{map[string][]string{"x y": {"1"}}, "may not travel"},
		{map[string][]string{"x": {"a\r\nlifeline-agent: b"}}, "cannot be a header"},
		{map[string][]string{"x": {strings.Repeat("a", maxMetaValue+1)}}, "cannot be a header"},
		{map[string][]string{"x": make([]string, maxMetaValues+1)}, "cannot be a header"},
		{manyKeys, "more than 64 keys"},
		{map[string][]string{"x": {large, large}, "y": {large, large}}, "more than 16384 bytes"},
		{manyValues, "more than 16384 bytes"},
	} {
		t.Run(c.want, func(t *testing.T) {
			_, err := decodeManifest(edit(t, c.meta, "records", 0, "meta"))
			require.ErrorContains(t, err, c.want)
		})
	}
}

// An ack is noted by signal and batch id: a second record of the same id, or one
// that holds it, would pass for delivered unsent.
func TestBatchIDsDoNotOverlap(t *testing.T) {
	const logs, root = 1, "00000000000000000000000000000001" // the id of record 1, traces
	for _, c := range []struct {
		record int
		id     string
		want   string
	}{
		{3, root, "record 4: batch_id " + root + " stands twice among the traces"},
		{3, root + ".0", "stands beside " + root},
		{3, root + strings.Repeat(".1", 24), "stands beside " + root},
		{3, root[:31] + "2.0", ""},
		{logs, root, ""},
		{logs, root + ".0", ""},
	} {
		t.Run(fmt.Sprint(c.record, " ", c.id), func(t *testing.T) {
			_, err := decodeManifest(edit(t, c.id, "records", c.record, "batch_id"))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestNewerManifests(t *testing.T) {
	for _, raw := range [][]byte{
		edit(t, "lifeline.flare/v2", "type"),
		edit(t, "lifeline.flare/v10.1", "type"),
		edit(t, []string{"colour"}, "critical"),
		// A newer version may change everything else.
		[]byte(`{"type":"lifeline.flare/v2","records":"elsewhere"}`),
	} {
		_, err := decodeManifest(raw)
		require.ErrorIs(t, err, errNewer)
	}
	for _, other := range []string{"", "lifeline.flare/v", "lifeline.flare/vX", "lifeline.flare/v0", "lifeline.flare", "Lifeline.flare/v2"} {
		_, err := decodeManifest(edit(t, other, "type"))
		require.Error(t, err)
		require.NotErrorIs(t, err, errNewer, other)
	}
}

// JSON that two parsers read differently is a signature over two documents.
func TestAmbiguousJSON(t *testing.T) {
	good := string(filled(t))
	for name, raw := range map[string]string{
		"same key twice":         strings.Replace(good, `"seq":3`, `"seq":3,"seq":4`, 1),
		"twice, escaped":         strings.Replace(good, `"seq":3`, `"seq":3,"\u0073eq":4`, 1),
		"twice in a record":      strings.Replace(good, `"size":19`, `"size":19,"size":14`, 1),
		"other case":             strings.Replace(good, `"seq":3`, `"seq":3,"SEQ":4`, 1),
		"folded to a key":        strings.Replace(good, `"seq":3`, `"seq":3,"ſeq":4`, 1),
		"no UTF-8":               strings.Replace(good, `"connect:`, "\"\xff", 1),
		"two documents":          good + good,
		"text behind":            good + "x",
		"not an object":          `[` + good + `]`,
		"null":                   `null`,
		"empty":                  ``,
		"cut off":                good[:len(good)-3],
		"deep in arrays":         strings.Replace(good, `"seq":3`, `"seq":3,"x":`+strings.Repeat("[", 99)+strings.Repeat("]", 99), 1),
		"deep in objects":        strings.Replace(good, `"seq":3`, `"seq":3,"x":`+strings.Repeat(`{"a":`, 99)+"1"+strings.Repeat("}", 99), 1),
		"comment":                strings.Replace(good, `"seq":3`, `/* */"seq":3`, 1),
		"key twice, deep inside": strings.Replace(good, `"seq":3`, `"seq":3,"x":[{"a":{"b":1,"b":2}}]`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, good, raw)
			_, err := decodeManifest([]byte(raw))
			require.Error(t, err)
		})
	}
}

func TestTimeOf(t *testing.T) {
	at := time.Date(2026, 9, 21, 8, 31, 0, 123_999_999, time.FixedZone("CEST", 7200))
	text, err := json.Marshal(TimeOf(at))
	require.NoError(t, err)
	require.Equal(t, `"2026-09-21T06:31:00.123Z"`, string(text))
}

func TestManifestTooLong(t *testing.T) {
	frames := make([]frame.Frame, 4000)
	for i := range frames {
		frames[i] = testFrames()[0]
		frames[i].BatchID = frame.NewBatchID()
		frames[i].Meta = map[string][]string{"x": {strings.Repeat("a", 1000)}}
	}
	m := testManifest()
	require.NoError(t, m.fill(frames))
	_, err := encodeManifest(m)
	require.ErrorContains(t, err, "put fewer frames into a flare")
}

func TestWithoutRecords(t *testing.T) {
	m := testManifest()
	m.fillUnchecked(t, testFrames())
	require.Empty(t, m.WithoutRecords().Records)
	require.NotEmpty(t, m.Records)
	require.Nil(t, (*Manifest)(nil).WithoutRecords())
}
