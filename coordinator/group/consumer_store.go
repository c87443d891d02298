package group

import (
	"maps"
	"slices"
	"time"

	"github.com/varvelog/varve/coordinator/metapb"
)

// changed says which parts of a member are to be stored.
type changed uint8

const (
	changedSubscription changed = 1 << iota
	changedTarget
	changedCurrent
	changedAll = changedSubscription | changedTarget | changedCurrent
)

// changeLog is what of a group is not in the log yet, and who waits for it. One command is on its way at a time, and takes along
// whatever has changed until it leaves.
type changeLog struct {
	version uint64 // that the log has once all that was taken is in it
	reset   bool   // the log has something else under the group's name, or nothing
	epoch   bool
	topics  bool
	members map[string]changed
	removed map[string]struct{}

	waiting []func(stored bool) // for what is to be taken
	taken   []func(stored bool) // for what is on its way
	flying  int                 // commands on their way
}

func (l *changeLog) clear() {
	l.reset, l.epoch, l.topics = false, false, false
	l.members, l.removed = map[string]changed{}, map[string]struct{}{}
}

func (l *changeLog) mark(id string, parts changed) { l.members[id] |= parts }

func (l *changeLog) remove(id string) {
	delete(l.members, id)
	l.removed[id] = struct{}{}
}

func (l *changeLog) isDirty() bool {
	return l.reset || l.epoch || l.topics || len(l.members) > 0 || len(l.removed) > 0
}

// WhenStored calls answer when all that is so now is in the log, which may be during the call, or when it cannot be put there.
func (g *ConsumerGroup) WhenStored(answer func(stored bool)) {
	switch l := &g.log; {
	case l.isDirty():
		l.waiting = append(l.waiting, answer)
	case l.flying > 0:
		l.taken = append(l.taken, answer)
	default:
		answer(true)
	}
}

// IsDirty says that Take has something to store.
func (g *ConsumerGroup) IsDirty() bool { return g.log.isDirty() }

// Take makes a command of what has changed. Stored tells its outcome.
func (g *ConsumerGroup) Take(now time.Time) *metapb.StoreConsumerGroup {
	l := &g.log
	c := &metapb.StoreConsumerGroup{
		Group: g.name, ExpectedVersion: l.version, Reset_: l.reset, Epoch: g.epoch, AssignmentEpoch: g.targetEpoch,
		Removed: slices.Sorted(maps.Keys(l.removed)), SetsTopics: l.topics, StateSinceMillis: now.UnixMilli(),
	}
	if l.topics {
		c.Topics = g.topics
	}
	for _, id := range slices.Sorted(maps.Keys(l.members)) {
		m, parts := g.members[id], l.members[id]
		kept := &metapb.ConsumerMember{MemberId: id}
		if parts&changedSubscription != 0 {
			kept.Subscription = m.subscription()
		}
		if parts&changedTarget != 0 {
			kept.Target = m.target.proto()
		}
		if parts&changedCurrent != 0 {
			kept.Current = m.current()
		}
		c.Members = append(c.Members, kept)
	}
	l.clear()
	l.version++
	l.taken, l.waiting = append(l.taken, l.waiting...), nil
	l.flying++
	return c
}

// Stored tells what became of the command that was taken first. After a failure the group is not what the log has, and is to be
// restored from there.
func (g *ConsumerGroup) Stored(ok bool) {
	l := &g.log
	l.flying--
	if !ok {
		g.Abandon()
		return
	}
	if l.flying == 0 {
		taken := l.taken
		l.taken = nil
		for _, answer := range taken {
			answer(true)
		}
	}
}

// Abandon answers everybody who waits: what they wait for will not be, as far as is known here.
func (g *ConsumerGroup) Abandon() {
	waiting := append(g.log.taken, g.log.waiting...)
	g.log.taken, g.log.waiting = nil, nil
	for _, answer := range waiting {
		answer(false)
	}
}
