package delivery

import "slices"

// seqs numbers the flares of one boot. It is pure.
type seqs struct {
	newest     uint64
	unresolved []uint64 // not known to be stored
}

// maxUnresolved bounds the list of seqs: only the latest matter to a reader.
const maxUnresolved = 256

// next numbers a flare. Unresolved are the seqs that it names: those of earlier
// flares that are not known to be stored. The caller owns the list.
func (s *seqs) next() (seq uint64, unresolved []uint64) {
	unresolved = slices.Clone(s.unresolved)
	s.newest++
	s.unresolved = append(s.unresolved, s.newest)
	s.unresolved = s.unresolved[max(0, len(s.unresolved)-maxUnresolved):]
	return s.newest, unresolved
}

// stored is told that a bucket has the flare of that number.
func (s *seqs) stored(seq uint64) {
	s.unresolved = slices.DeleteFunc(s.unresolved, func(each uint64) bool { return each == seq })
}

// void is told that no bucket has or will have the flare of that number. The next
// flare has it again, unless a later one may have named it: then nobody knows
// better.
func (s *seqs) void(seq uint64) {
	if seq == s.newest {
		s.newest--
		s.stored(seq)
	}
}
