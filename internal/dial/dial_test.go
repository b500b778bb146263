package dial_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otel-lifeline/lifeline/internal/dial"
)

// conn is a connection to a known address.
type conn struct {
	net.Conn
	to string
}

func (c conn) RemoteAddr() net.Addr {
	addr, _ := net.ResolveTCPAddr("tcp", c.to)
	return addr
}

// network resolves gw to some addresses and refuses some of them.
type network struct {
	hosts   []string // of gw; nil: the name is gone
	refused map[string]bool
	dialed  []string
	dialer  *dial.Dialer
}

func newNetwork() *network {
	n := &network{refused: map[string]bool{}}
	n.dialer = &dial.Dialer{Connect: n.connect, Lookup: n.lookup}
	return n
}

func (n *network) lookup(_ context.Context, host string) ([]string, error) {
	if n.hosts == nil || host != "gw" {
		return nil, &net.DNSError{Err: "no such host", Name: host}
	}
	return append([]string(nil), n.hosts...), nil
}

// connect is what net.Dialer does, with addresses one after the other.
func (n *network) connect(ctx context.Context, _, addr string) (net.Conn, error) {
	n.dialed = append(n.dialed, addr)
	host, port, _ := net.SplitHostPort(addr)
	addrs := []string{addr}
	if host == "gw" {
		hosts, err := n.lookup(ctx, host)
		if err != nil {
			return nil, &net.OpError{Op: "dial", Err: err}
		}
		addrs = nil
		for _, h := range hosts {
			addrs = append(addrs, net.JoinHostPort(h, port))
		}
	}
	for _, a := range addrs {
		if !n.refused[a] {
			return conn{to: a}, nil
		}
	}
	return nil, errors.New("refused")
}

// dial returns where a connection to gw:443 went, or the error's text.
func (n *network) dial(t *testing.T) string {
	n.dialed = nil
	c, err := n.dialer.DialContext(t.Context(), "tcp", "gw:443")
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(c.RemoteAddr().String(), ":443")
}

func TestANameThatIsGoneIsReplacedByAddressesThatWorked(t *testing.T) {
	n := newNetwork()
	require.Contains(t, n.dial(t), "no such host")
	for i := range 20 {
		n.hosts = []string{"192.0.2." + strconv.Itoa(i)}
		n.dial(t)
	}
	n.hosts = []string{"192.0.2.18"}
	n.dial(t)
	n.hosts = nil
	require.Equal(t, "192.0.2.18", n.dial(t), "the latest that worked")
	n.refused["192.0.2.18:443"] = true
	require.Equal(t, "192.0.2.19", n.dial(t))
	require.Equal(t, []string{"gw:443", "192.0.2.18:443", "192.0.2.19:443"}, n.dialed)
	n.dial(t)
	require.Equal(t, []string{"gw:443", "192.0.2.19:443"}, n.dialed)

	for i := range 20 {
		n.refused["192.0.2."+strconv.Itoa(i)+":443"] = true
	}
	require.True(t, strings.HasPrefix(n.dial(t), "dial: lookup gw: no such host"), "the cause comes first")
	require.Len(t, n.dialed, 1+16, "what is remembered is bounded")
	_, err := n.dialer.DialContext(t.Context(), "tcp", "192.0.2.1:443")
	require.ErrorContains(t, err, "refused", "only a name that does not resolve is replaced")
}

// In the clear, whoever has the address now would be believed.
func TestANameThatIsGoneStaysGoneWhereNothingProvesWhoAnswers(t *testing.T) {
	for _, left := range []bool{false, true} {
		n := newNetwork()
		n.dialer.Unproven = true
		n.hosts = []string{"192.0.2.1"}
		require.Equal(t, "192.0.2.1", n.dial(t))
		if left {
			n.dialer.Leave()
		}
		n.hosts = nil
		require.Contains(t, n.dial(t), "no such host")
		require.NotContains(t, n.dialed, "192.0.2.1:443")
	}
}

func TestAnAddressThatWasLeftIsTriedLast(t *testing.T) {
	n := newNetwork()
	n.dialer.Leave() // nothing is in use yet
	n.hosts = []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}
	for range 3 {
		for _, want := range n.hosts {
			require.Equal(t, want, n.dial(t))
			require.Equal(t, want, n.dial(t), "without a reason nothing changes")
			n.dialer.Leave()
		}
	}
	require.Equal(t, "192.0.2.1", n.dial(t))
	n.dialer.Leave()
	n.refused["192.0.2.2:443"] = true
	require.Equal(t, "192.0.2.3", n.dial(t), "an address that refuses costs nothing but a moment")
	n.refused["192.0.2.3:443"] = true
	require.Equal(t, "192.0.2.1", n.dial(t), "a sick server is better than none")
	n.hosts = []string{"192.0.2.9"}
	require.Equal(t, "192.0.2.9", n.dial(t), "the name is resolved anew")
	n.hosts = nil
	require.Equal(t, "192.0.2.9", n.dial(t), "and when it is gone, what worked is tried")
	n.dialer.Leave()
	n.refused = nil
	require.Equal(t, "192.0.2.2", n.dial(t), "first what was left longest ago")
}

func TestTheSystemsNetwork(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	d := dial.New()
	for range 2 {
		c, err := d.DialContext(t.Context(), "tcp", listener.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		d.Leave()
	}
	_, err = (&dial.Dialer{Connect: d.Connect, Lookup: d.Lookup}).DialContext(t.Context(), "tcp", "no port")
	require.Error(t, err)
}
