package s3bucket

import (
	"net"
	"net/url"
	"strings"
)

// base returns the URL of the bucket, without a slash at its end.
func (c *Config) base() (*url.URL, error) {
	endpoint := c.Endpoint
	if endpoint == "" {
		endpoint = "https://s3." + c.region() + ".amazonaws.com"
		if strings.HasPrefix(c.region(), "cn-") {
			endpoint += ".cn"
		}
	}
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err != nil {
		return nil, err
	}
	// A wildcard certificate does not cover a dotted name, and an address has no subdomains.
	if c.PathStyle || strings.Contains(c.Bucket, ".") || net.ParseIP(u.Hostname()) != nil {
		u.Path += "/" + c.Bucket
	} else {
		u.Host = c.Bucket + "." + u.Host
	}
	return u, nil
}

// Host returns the host, and the port if there is one, that a valid Config leads
// to.
func (c *Config) Host() string {
	base, err := c.base()
	if err != nil {
		return ""
	}
	return base.Host
}

// object returns the URL of key; "" is the bucket.
func (c *Client) object(key string, query url.Values) *url.URL {
	u := *c.base
	u.Path += "/" + key
	u.RawPath = escape(u.Path)
	u.RawQuery = query.Encode()
	return &u
}

// escape percent-encodes path as Signature Version 4 wants it: every byte but
// the unreserved ones and the slash.
func escape(path string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
