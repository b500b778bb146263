package flare

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Metadata travels as headers of the forwarded request. So a flare may not hold
// a key that names the request, its body, its credentials or Lifeline's own
// facts: with one of them an agent could speak in the name of another.
var reservedMeta = []string{
	"authorization", "connection", "cookie", "expect", "host", "keep-alive",
	"set-cookie", "te", "trailer", "transfer-encoding", "upgrade",
}

func validMetaKey(key string) bool {
	if key == "" || len(key) > maxMetaKey || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return false
	}
	return !ReservedMeta(key)
}

// ReservedMeta reports whether a header must not travel as metadata, whatever
// the case of its letters: a flare leaves it out, so who lets others choose the
// names of headers refuses it from the start.
func ReservedMeta(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"lifeline-", "content-", "proxy-", "grpc-"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains(reservedMeta, name)
}

func validMetaValues(values []string) bool {
	if len(values) > maxMetaValues {
		return false
	}
	return !slices.ContainsFunc(values, func(v string) bool { return v != "" && !printable(v, maxMetaValue) })
}

// fieldsSize returns what a key takes of a header by RFC 9113, 6.5.2: servers
// limit that, and answer 431 for the whole request.
func fieldsSize(key string, values []string) int {
	size := 0
	for _, v := range values {
		size += len(key) + len(v) + metaField
	}
	return size
}

func checkMeta(meta map[string][]string) error {
	if len(meta) > maxMetaKeys {
		return fmt.Errorf("meta has more than %d keys", maxMetaKeys)
	}
	size := 0
	for key, values := range meta {
		if size += fieldsSize(key, values); size > maxMetaSize {
			return fmt.Errorf("meta takes more than %d bytes of a header", maxMetaSize)
		}
		if !validMetaKey(key) {
			return fmt.Errorf("meta: %.40q may not travel", key)
		}
		if !validMetaValues(values) {
			return errors.New("meta: a value of " + key + " cannot be a header")
		}
	}
	return nil
}

// cleanMeta returns meta without what a reader would refuse: one odd header of
// a client must not cost the telemetry it came with. What is too much in all is
// left out from the largest on: a tenant's name is short. It returns meta itself
// when there is nothing to leave out.
func cleanMeta(meta map[string][]string) map[string][]string {
	if checkMeta(meta) == nil {
		return meta
	}
	clean := map[string][]string{}
	left := maxMetaSize
	smallest := func(a, b string) int {
		return cmp.Or(cmp.Compare(fieldsSize(a, meta[a]), fieldsSize(b, meta[b])), cmp.Compare(a, b))
	}
	for _, key := range slices.SortedFunc(maps.Keys(meta), smallest) {
		size := fieldsSize(key, meta[key])
		if size <= left && len(clean) < maxMetaKeys && validMetaKey(key) && validMetaValues(meta[key]) {
			clean[key] = meta[key]
			left -= size
		}
	}
	return clean
}
