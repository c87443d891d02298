package group

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

// takeOff notes that all that has changed is in a command that is on its way.
func (l *changeLog) takeOff() {
	l.clear()
	l.version++
	l.taken, l.waiting = append(l.taken, l.waiting...), nil
	l.flying++
}

// durable is the part of a group that brings what it has decided into the log. Groups whose assignments are made here embed it.
type durable struct {
	log changeLog
}

// WhenStored calls answer when all that is so now is in the log, which may be during the call, or when it cannot be put there.
func (d *durable) WhenStored(answer func(stored bool)) {
	switch l := &d.log; {
	case l.isDirty():
		l.waiting = append(l.waiting, answer)
	case l.flying > 0:
		l.taken = append(l.taken, answer)
	default:
		answer(true)
	}
}

// IsDirty says that there is something to store.
func (d *durable) IsDirty() bool { return d.log.isDirty() }

// Stored tells what became of the command that was taken first. After a failure the group is not what the log has, and is to be
// restored from there.
func (d *durable) Stored(ok bool) {
	l := &d.log
	l.flying--
	if !ok {
		d.Abandon()
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
func (d *durable) Abandon() {
	waiting := append(d.log.taken, d.log.waiting...)
	d.log.taken, d.log.waiting = nil, nil
	for _, answer := range waiting {
		answer(false)
	}
}
