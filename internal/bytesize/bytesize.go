// Package bytesize is the one spelling of sizes in Lifeline's configuration:
// 64MiB, 900KiB, 1GiB or a plain number of bytes. It is a value type; there is
// nothing to share and nothing to lock.
package bytesize

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, never negative when it came from UnmarshalText.
// (A configuration that gives a plain number bypasses UnmarshalText: whoever
// holds a Size validates its range.)
type Size int64

// The units. Decimal units (MB) are refused on purpose: half of all readers take
// them for the binary ones.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

var units = []struct {
	suffix string
	size   Size
}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}, {"", 1}}

// UnmarshalText parses a whole number with or without a unit.
func (s *Size) UnmarshalText(text []byte) error {
	given := string(text)
	for _, u := range units {
		number, ok := strings.CutSuffix(given, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimRight(number, " "), 10, 64)
		if err != nil || n < 0 || strings.HasPrefix(number, "+") || n > math.MaxInt64/int64(u.size) {
			break
		}
		*s = Size(n) * u.size
		return nil
	}
	return fmt.Errorf("%q is not a size: write a whole number of bytes, or one with KiB, MiB or GiB, such as 64MiB", given)
}

// MarshalText returns what String returns.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String returns the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units[:3] {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
