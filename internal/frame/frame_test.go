package frame_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/frame"
)

const boot = "0123456789abcdef0123456789abcdef"

func TestSignalNamesRoundTrip(t *testing.T) {
	for s := range frame.Signal(frame.NumSignals) {
		parsed, err := frame.ParseSignal(s.String())
		require.NoError(t, err)
		require.Equal(t, s, parsed)
	}
	_, err := frame.ParseSignal("events")
	require.ErrorContains(t, err, `unknown signal "events"`)
	require.Equal(t, "signal(9)", frame.Signal(9).String())
	require.Equal(t, "/v1/logs", frame.Logs.HTTPPath())
	require.Equal(t, "/v1development/profiles", frame.Profiles.HTTPPath())
}

func TestParseBatchID(t *testing.T) {
	for _, ok := range []string{boot, boot + ".0", boot + ".1.0", boot + strings.Repeat(".1", 24)} {
		id, valid := frame.ParseBatchID(ok)
		require.True(t, valid, ok)
		require.Equal(t, frame.BatchID(ok), id)
		require.Equal(t, frame.BatchID(boot), id.Root())
	}
	for _, bad := range []string{
		"", boot[1:], boot + "0", strings.ToUpper(boot), boot + ".2", boot + ".", boot + "..0",
		boot + strings.Repeat(".1", 25), "g" + boot[1:], boot + ".0 ",
	} {
		_, valid := frame.ParseBatchID(bad)
		require.False(t, valid, bad)
	}
}

func TestHalvesEndWhereTheFormOfTheIDEnds(t *testing.T) {
	id := frame.NewBatchID()
	for range 24 {
		left, right, ok := id.Halves()
		require.True(t, ok)
		require.Equal(t, id+".0", left)
		require.Equal(t, id+".1", right)
		_, valid := frame.ParseBatchID(string(left))
		require.True(t, valid)
		id = right
	}
	_, _, ok := id.Halves()
	require.False(t, ok)
}

func TestNewBatchIDIsRandom(t *testing.T) {
	seen := map[frame.BatchID]bool{}
	for range 1000 {
		id := frame.NewBatchID()
		require.True(t, frame.IsHex32(string(id)))
		require.False(t, seen[id])
		seen[id] = true
	}
}

func TestHeaderText(t *testing.T) {
	h := frame.Header{Agent: "acme/host-17", Boot: boot, Seq: 42, From: 1790000000000, To: 1790000000950, Items: 1200, Attempt: 1}
	require.Equal(t,
		`agent="acme/host-17", boot="`+boot+`", seq=42, from=1790000000000, to=1790000000950, items=1200, attempt=1`, h.String())
	h.Lost, h.LostReason = 300, "ring_full"
	require.True(t, strings.HasSuffix(h.String(), ", lost=300;reason=ring_full"))
	h.Rejected = 7
	require.True(t, strings.HasSuffix(h.String(), ", lost=300;reason=ring_full, rejected=7"))
	h.LostReason = strings.Repeat("r", frame.MaxReason)
	parsed, err := frame.ParseHeader(h.String())
	require.NoError(t, err)
	require.Equal(t, h, parsed)
}

func TestParseHeaderRefuses(t *testing.T) {
	good := `agent="a", boot="` + boot + `", seq=1, from=0, to=0, items=1, attempt=1`
	_, err := frame.ParseHeader(good + `, later="x", sizes=3`)
	require.NoError(t, err, "members it does not know are ignored")
	for name, bad := range map[string]string{
		"empty":            "",
		"missing attempt":  strings.TrimSuffix(good, ", attempt=1"),
		"twice":            good + ", seq=2",
		"seq 0":            strings.Replace(good, "seq=1", "seq=0", 1),
		"negative":         strings.Replace(good, "items=1", "items=-1", 1),
		"not a number":     strings.Replace(good, "items=1", "items=x", 1),
		"quoted number":    strings.Replace(good, "items=1", `items="1"`, 1),
		"too large":        strings.Replace(good, "items=1", "items=1000000000000000", 1),
		"bare agent":       strings.Replace(good, `agent="a"`, "agent=a", 1),
		"long agent":       strings.Replace(good, `"a"`, `"`+strings.Repeat("a", 129)+`"`, 1),
		"control in agent": strings.Replace(good, `"a"`, "\"a\nb\"", 1),
		"boot":             strings.Replace(good, boot, boot[2:], 1),
		"no end of string": `agent="a`,
		"trailing comma":   good + ", ",
		"bad reason":       good + ", lost=1;reason=Ring Full",
		"long reason":      good + ", lost=1;reason=" + strings.Repeat("r", 33),
		"no key":           "=1, " + good,
		"too long":         good + ", x=" + strings.Repeat("1", 1024),
	} {
		_, err := frame.ParseHeader(bad)
		require.Error(t, err, name)
	}
}

func TestBytesIsABody(t *testing.T) {
	var b frame.Body = frame.Bytes("stored")
	for range 2 {
		var out bytes.Buffer
		n, err := b.WriteTo(&out)
		require.NoError(t, err)
		require.Equal(t, b.Len(), n)
		require.Equal(t, "stored", out.String())
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(`agent="a", boot="` + boot + `", seq=1, from=0, to=0, items=1, attempt=1, lost=3;reason=x, rejected=1`)
	tight := `agent="a",boot="` + boot + `",seq=1,from=0,to=0,items=1,attempt=1,lost=1;reason=`
	f.Add(tight + strings.Repeat("r", 1024-len(tight))) // String puts blanks behind the commas
	f.Fuzz(func(t *testing.T, s string) {
		h, err := frame.ParseHeader(s)
		if err != nil {
			return
		}
		again, err := frame.ParseHeader(h.String())
		require.NoError(t, err)
		if h.Lost == 0 {
			h.LostReason = "" // not written without a count
		}
		require.Equal(t, h, again)
	})
}

func FuzzParseBatchID(f *testing.F) {
	f.Add(boot + ".0.1")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := frame.ParseBatchID(s); ok {
			require.Equal(t, s, string(id))
			require.True(t, frame.IsHex32(string(id.Root())))
		}
	})
}
