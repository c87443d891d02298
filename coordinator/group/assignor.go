package group

import (
	"cmp"
	"container/heap"
	"slices"

	"github.com/varvelog/varve/coordinator/meta"
)

// The server-side assignors.
const (
	assignorUniform = "uniform" // the default: as even as can be, and moving as little as can be
	assignorRange   = "range"   // neighbours of each topic to the same member, so that topics of one shape go together
)

// candidate is a member as an assignor sees it.
type candidate struct {
	id       string
	instance string
	topics   []topicInfo // in order of id
	target   assignment  // what it was last given
}

// assign gives every partition of a topic that somebody subscribes to, to one of those; members without any have an empty assignment.
// The candidates are in order of id.
func assign(assignor string, members []candidate) map[string]assignment {
	if assignor == assignorRange {
		return assignRanges(members)
	}
	return assignUniformly(members)
}

// subscribers are the members of each topic, topics in order of id, members in their order.
func subscribers(members []candidate) (topics []topicInfo, of map[meta.TopicID][]int) {
	of = map[meta.TopicID][]int{}
	for i := range members {
		for _, t := range members[i].topics {
			if of[t.id] == nil {
				topics = append(topics, t)
			}
			of[t.id] = append(of[t.id], i)
		}
	}
	slices.SortFunc(topics, func(x, y topicInfo) int { return compareTopicID(x.id, y.id) })
	return topics, of
}

// assignRanges gives each topic's partitions out in ranges. Static members come first, in order of their instances, so that what
// they have survives a new member id.
func assignRanges(members []candidate) map[string]assignment {
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(x, y candidate) int {
		if (x.instance == "") != (y.instance == "") {
			return cmp.Compare(y.instance, x.instance)
		}
		return cmp.Or(cmp.Compare(x.instance, y.instance), cmp.Compare(x.id, y.id))
	})
	out := make(map[string]assignment, len(members))
	for i := range members {
		out[members[i].id] = assignment{}
	}
	topics, of := subscribers(members)
	for _, t := range topics {
		takers := of[t.id]
		each, more := int(t.partitions)/len(takers), int(t.partitions)%len(takers)
		next := int32(0)
		for n, i := range takers {
			share := each
			if n < more {
				share++
			}
			if share > 0 {
				out[members[i].id][t.id] = span(next, share)
			}
			next += int32(share)
		}
	}
	return out
}

func span(from int32, count int) []int32 {
	out := make([]int32, count)
	for i := range out {
		out[i] = from + int32(i)
	}
	return out
}

// assignUniformly balances the number of partitions over members. Where all want the same topics, nobody has more than one above another
// and nothing moves that does not have to. Where they do not, members give up what others with less could take, one by one.
func assignUniformly(members []candidate) map[string]assignment {
	u := newUniform(members)
	if u.same {
		u.trim()
	}
	u.fill()
	if !u.same {
		u.level()
	}
	return u.assignments()
}

type partitionRef struct {
	topic     int // in uniform.topics
	partition int32
}

type uniform struct {
	members []candidate
	topics  []topicInfo
	takers  [][]int // the members of each topic
	same    bool    // all members want the same
	owner   [][]int // by topic and partition: member, or -1
	load    []int
}

func newUniform(members []candidate) *uniform {
	u := &uniform{members: members, load: make([]int, len(members)), same: true}
	topics, of := subscribers(members)
	u.topics = topics
	place := make(map[meta.TopicID]int, len(topics))
	for i, t := range topics {
		place[t.id] = i
		u.takers = append(u.takers, of[t.id])
		u.same = u.same && len(of[t.id]) == len(members)
		owner := make([]int, t.partitions)
		for p := range owner {
			owner[p] = -1
		}
		u.owner = append(u.owner, owner)
	}
	for i := range members {
		wants := make(map[meta.TopicID]bool, len(members[i].topics))
		for _, t := range members[i].topics {
			wants[t.id] = true
		}
		for id, partitions := range members[i].target {
			if !wants[id] {
				continue
			}
			t := place[id]
			for _, p := range partitions {
				if int(p) < len(u.owner[t]) && p >= 0 && u.owner[t][p] < 0 {
					u.owner[t][p] = i
					u.load[i]++
				}
			}
		}
	}
	return u
}

func (u *uniform) give(r partitionRef, member int) {
	if was := u.owner[r.topic][r.partition]; was >= 0 {
		u.load[was]--
	}
	u.owner[r.topic][r.partition] = member
	if member >= 0 {
		u.load[member]++
	}
}

// trim takes from members what is above their share. The larger shares go to those who have most, so that least moves.
func (u *uniform) trim() {
	total := 0
	for _, owner := range u.owner {
		total += len(owner)
	}
	each, larger := total/len(u.members), total%len(u.members)
	byLoad := make([]int, len(u.members))
	for i := range byLoad {
		byLoad[i] = i
	}
	slices.SortStableFunc(byLoad, func(x, y int) int { return cmp.Compare(u.load[y], u.load[x]) })
	share := make([]int, len(u.members))
	for n, i := range byLoad {
		share[i] = each
		if n < larger {
			share[i]++
		}
	}
	for t := len(u.owner) - 1; t >= 0; t-- { // from the end, as a range would shrink
		for p := len(u.owner[t]) - 1; p >= 0; p-- {
			if i := u.owner[t][p]; i >= 0 && u.load[i] > share[i] {
				u.give(partitionRef{t, int32(p)}, -1)
			}
		}
	}
}

// fill gives each free partition to the subscriber who has least; topics with few subscribers first, since they have least choice.
func (u *uniform) fill() {
	order := make([]int, len(u.topics))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(len(u.takers[x]), len(u.takers[y])) })
	for _, t := range order {
		least := &byLoad{load: u.load, members: slices.Clone(u.takers[t])}
		heap.Init(least)
		for p, owner := range u.owner[t] {
			if owner < 0 {
				u.give(partitionRef{t, int32(p)}, least.members[0])
				heap.Fix(least, 0)
			}
		}
	}
}

// level moves partitions from a member to another of the topic's that has two fewer or less, until there is none. Every move brings
// the loads together, so it ends; a bound on passes keeps the work in hand.
func (u *uniform) level() {
	const maxPasses = 100
	for range maxPasses {
		moved := false
		for t := range u.owner {
			for p, owner := range u.owner[t] {
				least := slices.MinFunc(u.takers[t], func(x, y int) int { return cmp.Compare(u.load[x], u.load[y]) })
				if u.load[owner] > u.load[least]+1 {
					u.give(partitionRef{t, int32(p)}, least)
					moved = true
				}
			}
		}
		if !moved {
			return
		}
	}
}

func (u *uniform) assignments() map[string]assignment {
	out := make(map[string]assignment, len(u.members))
	for i := range u.members {
		out[u.members[i].id] = assignment{}
	}
	for t, owners := range u.owner {
		id := u.topics[t].id
		for p, owner := range owners {
			to := out[u.members[owner].id]
			to[id] = append(to[id], int32(p))
		}
	}
	return out
}

// byLoad is a heap of members, the one with least on top.
type byLoad struct {
	load    []int
	members []int
}

func (h *byLoad) Len() int { return len(h.members) }
func (h *byLoad) Less(i, j int) bool {
	x, y := h.members[i], h.members[j]
	return cmp.Or(cmp.Compare(h.load[x], h.load[y]), cmp.Compare(x, y)) < 0
}
func (h *byLoad) Swap(i, j int) { h.members[i], h.members[j] = h.members[j], h.members[i] }
func (h *byLoad) Push(x any)    { h.members = append(h.members, x.(int)) } //nolint:forcetypeassert // only members are pushed
func (h *byLoad) Pop() any {
	last := h.members[len(h.members)-1]
	h.members = h.members[:len(h.members)-1]
	return last
}
