package bytesize

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSizesAreReadAndPrintedBack(t *testing.T) {
	for _, test := range []struct {
		text  string
		size  Size
		print string
	}{
		{"0", 0, "0"},
		{"1", 1, "1"},
		{"1000B", 1000, "1000"},
		{"900KiB", 900 << 10, "900KiB"},
		{"64MiB", 64 << 20, "64MiB"},
		{"64 MiB", 64 << 20, "64MiB"},
		{"1024MiB", 1 << 30, "1GiB"},
		{"8589934591GiB", 8589934591 << 30, "8589934591GiB"},
	} {
		var got Size
		require.NoError(t, got.UnmarshalText([]byte(test.text)), test.text)
		require.Equal(t, test.size, got, test.text)
		text, err := got.MarshalText()
		require.NoError(t, err)
		require.Equal(t, test.print, string(text))
	}
}

func TestWhatIsNoSizeIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "MiB", "-1", "-1MiB", "+1", "1.5GiB", "64MB", "64M", "64mib", "0x10", "1_000",
		"8589934592GiB", "9223372036854775808", " 1",
	} {
		got := Size(7)
		require.ErrorContains(t, got.UnmarshalText([]byte(text)), "such as 64MiB", text)
		require.Equal(t, Size(7), got, "a refused text must not change the value")
	}
}
