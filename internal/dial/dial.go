// Package dial connects to one of the addresses behind a name, and knows two
// things that net.Dialer does not: which address to leave because its server is
// sick, and which addresses worked before the name was gone. An address may
// belong to a stranger by then: so only who has TLS, or another proof of who
// answers, may ask for that.
//
// It starts no goroutine.
package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// timeout bounds one try at one address.
	timeout = 10 * time.Second
	// minShare is the least of it, when several addresses share it.
	minShare = 2 * time.Second
	// maxKept bounds what is remembered of a name.
	maxKept = 16
)

// Dialer dials like net.Dialer as long as nothing is wrong. It is safe for
// concurrent use.
type Dialer struct {
	// The ways to the network; set before the first use.
	Connect func(ctx context.Context, network, addr string) (net.Conn, error) // resolves a name by itself
	Lookup  func(ctx context.Context, host string) ([]string, error)
	// Unproven says that nothing proves who answers at an address: then a name that
	// is gone stays gone. Set before the first use.
	Unproven bool

	mu sync.Mutex
	// mu guards the following.
	names map[string]*name // by host:port
}

// name is what is known of one host:port. All addresses have a port.
type name struct {
	worked []string // those that connected, latest first
	left   []string // those that were left, longest ago first
}

// New returns a dialer for the system's network and resolver.
func New() *Dialer {
	d := &net.Dialer{Timeout: timeout}
	return &Dialer{Connect: d.DialContext, Lookup: net.DefaultResolver.LookupHost}
}

// DialContext connects to addr, a host:port. Addresses that were left are tried
// last. When the host does not resolve, the addresses that worked are tried,
// latest first.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	worked, left := d.known(addr)
	if len(left) == 0 {
		// The ordinary way: net.Dialer races IPv6 against IPv4.
		conn, err := d.Connect(ctx, network, addr)
		if err == nil {
			d.remember(addr, conn)
			return conn, nil
		}
		if _, unresolved := errors.AsType[*net.DNSError](err); !unresolved {
			return nil, err
		}
		return d.connectKnown(ctx, network, addr, worked, err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", addr, err)
	}
	hosts, err := d.Lookup(ctx, host)
	if err != nil {
		return d.connectKnown(ctx, network, addr, last(worked, left), err)
	}
	addrs := make([]string, 0, len(hosts))
	for _, h := range hosts {
		addrs = append(addrs, net.JoinHostPort(h, port))
	}
	return d.connectAny(ctx, network, addr, last(addrs, left), nil)
}

// Leave puts the addresses in use behind all others of their names. It closes
// no connection: that is for their owner to do.
func (d *Dialer) Leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.names {
		if len(n.worked) > 0 {
			n.left = without(n.left, n.worked[0])
			n.left = append(n.left, n.worked[0])
			n.left = n.left[max(len(n.left)-maxKept, 0):]
		}
	}
}

// connectKnown tries the addresses of a name that is gone, as gone says.
func (d *Dialer) connectKnown(ctx context.Context, network, addr string, known []string, gone error) (net.Conn, error) {
	if d.Unproven {
		return nil, gone
	}
	return d.connectAny(ctx, network, addr, known, gone)
}

// connectAny tries the addresses in their order. cause is the error that led
// here, if there was one.
func (d *Dialer) connectAny(ctx context.Context, network, addr string, addrs []string, cause error) (net.Conn, error) {
	err := cause
	share := timeout
	if len(addrs) > 0 {
		share = max(timeout/time.Duration(len(addrs)), minShare)
	}
	for _, known := range addrs {
		one, cancel := context.WithTimeout(ctx, share)
		conn, again := d.Connect(one, network, known)
		cancel()
		if again == nil {
			d.remember(addr, conn)
			return conn, nil
		}
		err = errors.Join(err, again)
	}
	return nil, err
}

// known returns copies.
func (d *Dialer) known(addr string) (worked, left []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[addr]; n != nil {
		return slices.Clone(n.worked), slices.Clone(n.left)
	}
	return nil, nil
}

// remember takes note that addr was reached at the connection's address.
func (d *Dialer) remember(addr string, conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names == nil {
		d.names = map[string]*name{}
	}
	n := d.names[addr]
	if n == nil {
		n = &name{}
		d.names[addr] = n
	}
	at := conn.RemoteAddr().String()
	n.worked = append([]string{at}, without(n.worked, at)...)
	n.worked = n.worked[:min(len(n.worked), maxKept)]
}

// last returns addrs with those in left behind the others, longest ago first.
func last(addrs, left []string) []string {
	slices.SortStableFunc(addrs, func(a, b string) int {
		return slices.Index(left, a) - slices.Index(left, b) // -1: never left
	})
	return addrs
}

func without(addrs []string, addr string) []string {
	return slices.DeleteFunc(addrs, func(a string) bool { return a == addr })
}
