package memory

import (
	"cmp"
	"slices"
	"sort"
)

// posting says that a word stands in a document, how often, and how long that
// document is, so that a list is scored without looking anywhere else.
type posting struct {
	number uint32 // of the document
	count  uint16
	length uint16 // words of the document, with repetitions
}

// blockSize is how many postings stand together. Insertion and removal move at
// most one block.
const blockSize = 256

// postings is the documents of one word in order of their numbers: blocks of 1
// to blockSize. Most words stand in one or two documents and have one small
// block.
type postings struct {
	hash   uint64 // of the word
	blocks [][]posting
	count  int
}

// block is the index of the block that holds the number if any does.
func (p *postings) block(number uint32) int {
	i := sort.Search(len(p.blocks), func(i int) bool {
		b := p.blocks[i]
		return b[len(b)-1].number >= number
	})
	return min(i, len(p.blocks)-1)
}

func inBlock(b []posting, number uint32) (int, bool) {
	return slices.BinarySearchFunc(b, number, func(e posting, n uint32) int { return cmp.Compare(e.number, n) })
}

// add inserts a document that is not there yet.
func (p *postings) add(e posting) {
	p.count++
	if len(p.blocks) == 0 {
		p.blocks = [][]posting{{e}}
		return
	}
	if end := len(p.blocks) - 1; e.number > p.blocks[end][len(p.blocks[end])-1].number { // numbers mostly ascend
		if len(p.blocks[end]) == blockSize {
			p.blocks = append(p.blocks, []posting{e})
		} else {
			p.blocks[end] = append(p.blocks[end], e)
		}
		return
	}
	i := p.block(e.number)
	b := p.blocks[i]
	if len(b) == blockSize {
		const half = blockSize / 2
		p.blocks[i] = slices.Clone(b[:half])
		p.blocks = slices.Insert(p.blocks, i+1, slices.Clone(b[half:]))
		if e.number > b[half-1].number {
			i++
		}
		b = p.blocks[i]
	}
	at, _ := inBlock(b, e.number)
	p.blocks[i] = slices.Insert(b, at, e)
}

// extend adds documents with higher numbers than there are. It keeps the slice, in
// pieces that grow elsewhere.
func (p *postings) extend(more []posting) {
	const few = 32 // not worth a block of their own
	if len(p.blocks) > 0 && len(more) <= few {
		for _, e := range more {
			p.add(e)
		}
		return
	}
	p.count += len(more)
	for len(more) > 0 {
		n := min(blockSize, len(more))
		p.blocks = append(p.blocks, more[:n:n])
		more = more[n:]
	}
}

// remove takes out a document, if it is there.
func (p *postings) remove(number uint32) {
	if len(p.blocks) == 0 {
		return
	}
	i := p.block(number)
	at, ok := inBlock(p.blocks[i], number)
	if !ok {
		return
	}
	p.count--
	if p.blocks[i] = slices.Delete(p.blocks[i], at, at+1); len(p.blocks[i]) == 0 {
		p.blocks = slices.Delete(p.blocks, i, i+1)
	}
}

// find returns the posting of a document.
func (p *postings) find(number uint32) (posting, bool) {
	if len(p.blocks) == 0 {
		return posting{}, false
	}
	b := p.blocks[p.block(number)]
	at, ok := inBlock(b, number)
	if !ok {
		return posting{}, false
	}
	return b[at], true
}
