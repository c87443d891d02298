package streamsgroup

// maxPairedTasks bounds the memory of pairs, 25 MB. Where there are more tasks, it does not matter which come together.
const maxPairedTasks = 20_000

// pairs remembers which tasks have come together in a process: a bit for each two.
type pairs struct {
	bits []uint64 // nil where it does not matter
	open int      // pairs that have not come together
}

func newPairs(tasks int) pairs {
	if tasks > maxPairedTasks {
		return pairs{}
	}
	all := tasks * (tasks - 1) / 2
	return pairs{bits: make([]uint64, (all+63)/64), open: all}
}

func pairBit(x, y int) (word int, mask uint64) {
	if x < y {
		x, y = y, x
	}
	bit := x*(x-1)/2 + y
	return bit / 64, 1 << (bit % 64)
}

// isNew tells whether a task would come together with one it has not been together with.
func (p *pairs) isNew(task int, with []int) bool {
	if p.open == 0 {
		return false
	}
	if len(with) == 0 {
		return true
	}
	for _, other := range with {
		if other == task {
			return true
		}
		if word, mask := pairBit(task, other); p.bits[word]&mask == 0 {
			return true
		}
	}
	return false
}

func (p *pairs) add(task int, with []int) {
	if p.bits == nil {
		return
	}
	for _, other := range with {
		if other == task {
			continue
		}
		if word, mask := pairBit(task, other); p.bits[word]&mask == 0 {
			p.bits[word] |= mask
			p.open--
		}
	}
}
