package delivery

import "time"

// budget bounds the sealed bytes of a day. It is pure.
type budget struct {
	perDay int64
	spent  int64
	until  time.Time // when the day that began with the first flare ends
}

const day = 24 * time.Hour

// allows reports whether anything may be flared today; if not, until says when.
func (b *budget) allows(now time.Time) bool {
	if !now.Before(b.until) {
		b.spent = 0
	}
	return b.spent < b.perDay
}

// spend counts a flare that is stored or may be.
func (b *budget) spend(now time.Time, bytes int64) {
	if !now.Before(b.until) {
		b.spent, b.until = 0, now.Add(day)
	}
	b.spent += bytes
}
