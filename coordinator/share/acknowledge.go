package share

import (
	"errors"
	"slices"
)

// Type is what a member says of a record, with Kafka's numbers.
type Type int8

// The types.
const (
	Gap     Type = 0 // there is no record at this offset
	Accept  Type = 1
	Release Type = 2
	Reject  Type = 3
)

// Acknowledgement is what a member says of the offsets [Base, Next): one type for all of them, or one for each.
type Acknowledgement struct {
	Base, Next int64
	Types      []Type
}

// Why an acknowledgement is refused, which changes nothing.
var (
	ErrState   = errors.New("record is not acquired by the member")
	ErrRequest = errors.New("offsets were never given out")
)

// Acknowledge does what a member says of its records; all of it, or on an error nothing. Offsets below the start are passed over.
func (p *Partition) Acknowledge(member string, limits Limits, acknowledgements []Acknowledgement) error {
	spans, changes := slices.Clone(p.spans), len(p.changes)
	var lastChange StateBatch
	if changes > 0 {
		lastChange = p.changes[changes-1]
	}
	for _, a := range acknowledgements {
		if err := p.acknowledge(member, limits, a); err != nil {
			p.spans, p.changes = spans, p.changes[:changes]
			if changes > 0 {
				p.changes[changes-1] = lastChange // it may have been made longer
			}
			return err
		}
	}
	p.settle()
	return nil
}

func (p *Partition) acknowledge(member string, limits Limits, a Acknowledgement) error {
	switch {
	case a.Next <= p.start:
		return nil
	case p.start == p.end:
		return ErrState
	case a.Base >= p.end, a.Next > p.end:
		return ErrRequest
	case len(a.Types) != 1 && int64(len(a.Types)) != a.Next-a.Base:
		return ErrRequest
	}
	for at := max(a.Base, p.start); at < a.Next; {
		next, kind := a.run(at)
		mine := true
		p.change(at, next, func(s *span) {
			if mine = mine && s.state == Acquired && s.member == member; !mine {
				return
			}
			switch kind {
			case Accept:
				p.put(s, Acknowledged)
			case Release:
				p.giveBack(s, limits)
			default:
				p.put(s, Archived)
			}
		})
		if !mine {
			return ErrState
		}
		at = next
	}
	return nil
}

// run is the end of the run of offsets from at on that have one type, and the type.
func (a *Acknowledgement) run(at int64) (next int64, kind Type) {
	if len(a.Types) == 1 {
		return a.Next, a.Types[0]
	}
	kind = a.Types[at-a.Base]
	for next = at + 1; next < a.Next && a.Types[next-a.Base] == kind; next++ {
	}
	return next, kind
}
