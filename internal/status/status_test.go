package status

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
)

func TestValues(t *testing.T) {
	at := time.Date(2026, 11, 27, 7, 31, 0, 5, time.FixedZone("", 3600))
	for _, tc := range []struct {
		value      Value
		text, json string
		number     bool
	}{
		{Value{}, "–", "null", false},
		{Text(""), "–", "null", false},
		{Text("tls_expired"), "tls_expired", `"tls_expired"`, false},
		{Problem(nil), "–", "null", false},
		{Problem(errors.New("one\n\ttwo")), "one two", `"one two"`, false},
		{Whether(true), "yes", "true", false},
		{Whether(false), "no", "false", false},
		{Count(0), "0", "0", true},
		{Count(999), "999", "999", true},
		{Count(2980), "2,980", "2980", true},
		{Count(-1234567), "-1,234,567", "-1234567", true},
		{Count(-123), "-123", "-123", true},
		{Count(int64(math.MinInt64)), "-9,223,372,036,854,775,808", "-9223372036854775808", true},
		{Decimal(0.25), "0.25", "0.25", true},
		{Bytes(0), "0 B", "0", true},
		{Bytes(1023), "1023 B", "1023", true},
		{Bytes(1536), "1.5 KiB", "1536", true},
		{Bytes(64 << 20), "64.0 MiB", "67108864", true},
		{Bytes(math.MaxInt64), "8.0 EiB", "9223372036854775807", true},
		{Age(0), "0s", "0", true},
		{Age(1500 * time.Microsecond), "2ms", "0.0015", true},
		{Age(63*time.Second + 400*time.Millisecond), "1m3s", "63.4", true},
		{At(time.Time{}), "–", "null", false},
		{At(at), "2026-11-27 06:31:00 UTC", `"2026-11-27T06:31:00Z"`, false},
	} {
		require.Equal(t, tc.text, tc.value.String())
		text, err := json.Marshal(tc.value)
		require.NoError(t, err)
		require.Equal(t, tc.json, string(text))
		require.Equal(t, tc.number, tc.value.Number(), tc.text)
	}
}

// FuzzText: whatever comes from outside is short and can be seen.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "acme/host-17", "\xff\x00\u202e", strings.Repeat("ü", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out := Text(s).String()
		require.True(t, utf8.ValidString(out))
		require.LessOrEqual(t, utf8.RuneCountInString(out), maxText+1)
		require.NotContains(t, out, "\n")
		_, err := json.Marshal(Text(s))
		require.NoError(t, err)
	})
}

func TestNoPage(t *testing.T) {
	Register(componenttest.NewNopHost(), Source{})()
}
