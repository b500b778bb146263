package ring

import "math/bits"

// page names one page of a chunk.
type page struct {
	of *chunk
	n  uint8
}

func (p page) bytes() []byte {
	at := int(p.n) * PageSize
	return p.of.mem[at : at+PageSize : at+PageSize]
}

// spareChunks is what a ring keeps when it is empty, 1 MiB: a frame that comes and
// goes in a millisecond must not cost a mapping and its page faults.
const spareChunks = 4

// chunk is some pages that come from the system together.
type chunk struct {
	mem  []byte // nil: given back; a read that comes too late panics
	from memory
	free uint64 // a bit for each page that nobody has
	at   int    // where it stands in its row
}

func (c *chunk) used() int { return chunkPages - bits.OnesCount64(c.free) }

// pages hands out pages and takes them back. It is the only place that knows
// where pages come from. The ring's lock guards it; the bytes of a page belong
// to whoever has it.
//
// A chunk is taken only when no page is free, so that all chunks together are
// less than a chunk larger than the most pages that were ever out; and the
// fullest chunks are used first, so that the others can empty and go back.
type pages struct {
	source memory
	spare  int                      // chunks without a page in use that are kept for the next frame
	rows   [chunkPages + 1][]*chunk // all chunks, by the number of pages in use
	chunks int
	out    int64 // pages handed out and not yet given back
}

// take appends n pages to the list. What they hold is not defined.
func (p *pages) take(to []page, n int64) []page {
	p.out += n
	for n > 0 {
		c := p.fullest()
		p.unshelve(c)
		for ; n > 0 && c.free != 0; n-- {
			i := bits.TrailingZeros64(c.free)
			c.free &^= 1 << i
			to = append(to, page{c, uint8(i)}) //nolint:gosec // less than 64
		}
		p.shelve(c)
	}
	return to
}

// fullest returns the chunk with the fewest free pages, a new one if there is none.
func (p *pages) fullest() *chunk {
	for used := chunkPages - 1; used >= 0; used-- {
		if row := p.rows[used]; len(row) > 0 {
			return row[len(row)-1]
		}
	}
	c := &chunk{from: p.source, free: ^uint64(0)}
	var err error
	if c.mem, err = c.from.get(); err != nil {
		c.from = heap{} // never an excuse to lose data
		c.mem, _ = c.from.get()
	}
	p.chunks++
	p.shelve(c)
	return c
}

// give takes pages back.
func (p *pages) give(back []page) {
	p.out -= int64(len(back))
	for len(back) > 0 {
		c := back[0].of
		p.unshelve(c)
		for ; len(back) > 0 && back[0].of == c; back = back[1:] {
			c.free |= 1 << back[0].n
		}
		p.shelve(c)
		p.keep(p.spare)
	}
}

// keep gives back chunks without a page in use, but for n of them, and keeps no
// more from now on.
func (p *pages) keep(n int) {
	p.spare = n
	for len(p.rows[0]) > n {
		p.drop(p.rows[0][0])
	}
}

func (p *pages) drop(c *chunk) {
	p.unshelve(c)
	p.chunks--
	c.from.put(c.mem)
	c.mem = nil
}

// shelve puts c into the row where it belongs.
func (p *pages) shelve(c *chunk) {
	row := &p.rows[c.used()]
	c.at = len(*row)
	*row = append(*row, c)
}

// unshelve takes c out of its row, before its number of used pages changes.
func (p *pages) unshelve(c *chunk) {
	row := &p.rows[c.used()]
	last := len(*row) - 1
	(*row)[c.at] = (*row)[last]
	(*row)[c.at].at = c.at
	(*row)[last] = nil
	*row = (*row)[:last]
}

// pagesFor returns the number of pages that hold n bytes.
func pagesFor(n int64) int64 { return (n + PageSize - 1) / PageSize }
