package share

import "slices"

// State is what has become of a record, with Kafka's numbers.
type State uint8

// The states.
const (
	Available    State = 0
	Acquired     State = 1
	Acknowledged State = 2
	Archived     State = 4
)

// IsDone says that the record will not be given out again.
func (s State) IsDone() bool { return s == Acknowledged || s == Archived }

// StateBatch is what is durable of the offsets [Base, Next): their state, which is never Acquired, and how often they were given out.
type StateBatch struct {
	Base, Next    int64
	State         State
	DeliveryCount int32
}

func (b *StateBatch) says(other *StateBatch) bool {
	return b.State == other.State && b.DeliveryCount == other.DeliveryCount
}

// isNothing says that the batch tells no more than none would.
func (b *StateBatch) isNothing() bool { return b.State == Available && b.DeliveryCount == 0 }

// Overlay lays changes, in the order in which they happened, over batches, which are in order and apart, and leaves out what lies below
// start. The result is in order and apart, neighbours that say the same are one, and it shares nothing with its arguments.
func Overlay(batches []StateBatch, start int64, changes []StateBatch) []StateBatch {
	return normal(merge(batches, combine(changes)), start)
}

// combine makes changes that may overlap ones that are in order and apart.
func combine(changes []StateBatch) []StateBatch {
	var out []StateBatch
	for _, c := range changes {
		if n := len(out); n == 0 || out[n-1].Next <= c.Base {
			out = append(out, c)
			continue
		}
		out = merge(out, []StateBatch{c})
	}
	return out
}

// merge lays over over under; both are in order and apart.
func merge(under, over []StateBatch) []StateBatch {
	out := make([]StateBatch, 0, len(under)+2*len(over))
	for _, o := range over {
		for len(under) > 0 && under[0].Next <= o.Base {
			out, under = append(out, under[0]), under[1:]
		}
		if len(under) > 0 && under[0].Base < o.Base {
			before := under[0]
			before.Next = o.Base
			out = append(out, before)
		}
		out = append(out, o)
		for len(under) > 0 && under[0].Next <= o.Next {
			under = under[1:]
		}
		if len(under) > 0 && under[0].Base < o.Next {
			under = slices.Clone(under)
			under[0].Base = o.Next
		}
	}
	return append(out, under...)
}

// normal leaves out what lies below start and what says nothing, and joins neighbours that say the same.
func normal(batches []StateBatch, start int64) []StateBatch {
	out := batches[:0]
	for _, b := range batches {
		b.Base = max(b.Base, start)
		if b.Base >= b.Next || b.isNothing() {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Next == b.Base && out[n-1].says(&b) {
			out[n-1].Next = b.Next
			continue
		}
		out = append(out, b)
	}
	return slices.Clip(out)
}
