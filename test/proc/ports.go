package proc

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are handed out below those that systems give to outgoing connections, so
// that a server that was killed finds its port again.
const (
	firstPort = 20000
	ports     = 12000
	blockSize = 60
)

// block is a range of ports that is this process's alone. Test binaries run side
// by side, and whoever was told of a free port may not listen there yet: without
// blocks two of them would be told of the same one.
type block struct {
	claim net.Listener // on the first port of the block, for as long as the process lives
	first int
	used  int
}

// claimed are the blocks of this process; the last one is being used up.
var claimed struct {
	sync.Mutex
	blocks []block
}

// FreeAddrs returns n different addresses of 127.0.0.1 that were free a moment
// ago. No other process that asks for some is given the same ones, and this one
// never twice.
func FreeAddrs(n int) ([]string, error) {
	claimed.Lock()
	defer claimed.Unlock()
	var addrs []string
	for len(addrs) < n {
		addr, err := nextAddr()
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// nextAddr must be called with the lock held.
func nextAddr() (string, error) {
	for {
		last := len(claimed.blocks) - 1
		if last < 0 || claimed.blocks[last].used == blockSize-1 {
			b, err := claimBlock()
			if err != nil {
				return "", err
			}
			claimed.blocks = append(claimed.blocks, b)
			continue
		}
		b := &claimed.blocks[last]
		b.used++
		addr := address(b.first + b.used)
		if l, err := net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
}

// claimBlock claims a block that no process has. It begins to look anywhere, so
// that tests which follow each other do not share ports either.
func claimBlock() (block, error) {
	const blocks = ports / blockSize
	from := rand.IntN(blocks) //nolint:gosec // no secret
	for i := range blocks {
		first := firstPort + (from+i)%blocks*blockSize
		if l, err := net.Listen("tcp", address(first)); err == nil {
			return block{claim: l, first: first}, nil
		}
	}
	return block{}, fmt.Errorf("find free ports on 127.0.0.1: every block from %d to %d is taken", firstPort, firstPort+ports-1)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
