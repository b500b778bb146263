package status

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Value is a cell: for people a text, for programs a number or a string. The zero
// value is nothing: a dash, and null.
type Value struct {
	text  string
	plain any // what JSON shows: a string, a bool, an int64 or a float64
}

// String returns the text for people. It is not escaped.
func (v Value) String() string {
	if v.plain == nil {
		return "–"
	}
	return v.text
}

// MarshalJSON implements json.Marshaler.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(v.plain) }

// Number reports whether v is a number for programs.
func (v Value) Number() bool {
	switch v.plain.(type) {
	case int64, float64:
		return true
	}
	return false
}

// maxText is the most characters of a text.
const maxText = 256

// Text is a word or a sentence, also one from outside: it is cut after 256
// characters, and what cannot be seen becomes a replacement character. An empty
// one is nothing.
func Text(s string) Value {
	if s == "" {
		return Value{}
	}
	var out strings.Builder
	n := 0
	for _, r := range s {
		if n++; n > maxText {
			out.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		out.WriteRune(r)
	}
	return Value{out.String(), out.String()}
}

// Problem is the text of err, and nothing for nil.
func Problem(err error) Value {
	if err == nil {
		return Value{}
	}
	return Text(strings.Join(strings.Fields(err.Error()), " "))
}

// Whether is yes or no; for programs true or false.
func Whether(b bool) Value {
	if b {
		return Value{"yes", true}
	}
	return Value{"no", false}
}

// Count is a whole number.
func Count[N int | int64](n N) Value {
	digits := strconv.FormatInt(int64(n), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return Value{digits, int64(n)}
}

// Decimal is any number.
func Decimal(x float64) Value { return Value{strconv.FormatFloat(x, 'f', 2, 64), x} }

// Bytes is a size; for programs it is in bytes.
func Bytes(n int64) Value {
	const unit = 1024
	size, units := float64(n), "KMGTPE"
	if n < unit {
		return Value{fmt.Sprintf("%d B", n), n}
	}
	for size /= unit; size >= unit; size /= unit {
		units = units[1:]
	}
	return Value{fmt.Sprintf("%.1f %ciB", size, units[0]), n}
}

// Age is how long something has been going on; for programs it is in seconds.
func Age(d time.Duration) Value {
	round := time.Second
	if d < time.Second {
		round = time.Millisecond
	}
	return Value{d.Round(round).String(), d.Seconds()}
}

// At is an instant, in UTC; for programs it is as in RFC 3339. The zero time is
// nothing.
func At(t time.Time) Value {
	if t.IsZero() {
		return Value{}
	}
	t = t.UTC().Truncate(time.Second)
	return Value{t.Format("2006-01-02 15:04:05 UTC"), t.Format(time.RFC3339)}
}
