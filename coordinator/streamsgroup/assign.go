package streamsgroup

import (
	"cmp"
	"slices"
)

// Member is a member as Assign sees it.
type Member struct {
	ID      string
	Process string   // members of one process share a disk, and are given a task once
	Target  TaskSets // what it was last given
}

// Assign gives each task to one member, and to standbys more of other processes for tasks with state, as far as there are any.
// What moves as little as balance allows stays: a task goes to the member it was with, else to one that has kept a copy of its state, else to
// the process with the least to do. Every member has an answer, maybe an empty one.
func Assign(subtopologies []Subtopology, members []Member, standbys int) map[string]TaskSets {
	a := newAssignment(subtopologies, members)
	if len(members) > 0 {
		a.assignActive()
		a.assignStandby(standbys)
	}
	return a.result()
}

type task struct {
	subtopology int // place in the subtopologies
	partition   int32
}

// assignee is a member; its process is a place in processes.
type assignee struct {
	process         int
	count           int // of tasks it has been given
	active, standby []int
}

// process is the members that share a disk. Its load is tasks for each of its members.
type process struct {
	members []int
	active  int
	tasks   []int // active and standby
}

func (p *process) load() float64 { return float64(len(p.tasks)) / float64(len(p.members)) }

// assignment is an assignment in the making. Tasks, members and processes are their places in their lists, which are in order, so that the
// outcome does not depend on anything else.
type assignment struct {
	subtopologies []Subtopology
	ids           []string
	tasks         []task
	members       []assignee
	processes     []process

	wasActive  map[int]int   // task → member
	wasStandby map[int][]int // task → members
	holders    [][]int       // task → processes that have been given it
	pairs      pairs

	// quota is how many active tasks a member gets before others do, from what is left and who has not got theirs.
	quota, left, takers int
}

func newAssignment(subtopologies []Subtopology, members []Member) *assignment {
	a := &assignment{subtopologies: subtopologies, wasActive: map[int]int{}, wasStandby: map[int][]int{}}
	spans := make(map[string]span, len(subtopologies))
	for i := range subtopologies {
		spans[subtopologies[i].ID] = span{len(a.tasks), subtopologies[i].Tasks}
		for p := range subtopologies[i].Tasks {
			a.tasks = append(a.tasks, task{i, p})
		}
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(x, y Member) int { return cmp.Or(cmp.Compare(x.Process, y.Process), cmp.Compare(x.ID, y.ID)) })
	for i, m := range members {
		if i == 0 || m.Process != members[i-1].Process {
			a.processes = append(a.processes, process{})
		}
		own := &a.processes[len(a.processes)-1]
		own.members = append(own.members, i)
		a.ids, a.members = append(a.ids, m.ID), append(a.members, assignee{process: len(a.processes) - 1})
		eachTask(spans, m.Target.Active, func(t int) { a.wasActive[t] = i })
		eachTask(spans, m.Target.Standby, func(t int) { a.wasStandby[t] = append(a.wasStandby[t], i) })
	}
	a.holders, a.pairs = make([][]int, len(a.tasks)), newPairs(len(a.tasks))
	a.left, a.takers = len(a.tasks), len(members)
	a.setQuota()
	return a
}

// span is the tasks of one subtopology.
type span struct {
	first int
	count int32
}

// eachTask calls f for the tasks that there still are.
func eachTask(spans map[string]span, tasks Tasks, f func(task int)) {
	for subtopology, partitions := range tasks {
		s := spans[subtopology]
		for _, p := range partitions {
			if p >= 0 && p < s.count {
				f(s.first + int(p))
			}
		}
	}
}

func (a *assignment) setQuota() {
	a.quota = 0
	if a.takers > 0 {
		a.quota = (a.left + a.takers - 1) / a.takers
	}
}

func (a *assignment) assignActive() {
	open := make([]int, len(a.tasks))
	for t := range open {
		open[t] = t
	}
	open = slices.DeleteFunc(open, func(t int) bool {
		m, was := a.wasActive[t]
		return was && a.giveWithinQuota(t, m)
	})
	open = slices.DeleteFunc(open, func(t int) bool {
		m := a.formerStandby(t, a.wasStandby[t])
		return m >= 0 && a.giveWithinQuota(t, m)
	})
	for _, t := range open {
		a.give(t, a.leastLoaded(t, nil), true)
	}
}

func (a *assignment) giveWithinQuota(t, member int) bool {
	if a.members[member].count >= a.quota {
		return false
	}
	a.give(t, member, true)
	return true
}

func (a *assignment) assignStandby(standbys int) {
	for t := range a.tasks {
		if !a.subtopologies[a.tasks[t].subtopology].IsStateful() {
			continue
		}
		for range min(standbys, len(a.processes)-1) {
			a.give(t, a.standbyFor(t), false)
		}
	}
}

// standbyFor finds a member of a process that has not got the task.
func (a *assignment) standbyFor(t int) int {
	isFree := func(process int) bool { return !slices.Contains(a.holders[t], process) }
	if m, was := a.wasActive[t]; was {
		if p := a.members[m].process; isFree(p) && a.isBalanced(p) && a.pairs.isNew(t, a.processes[p].tasks) {
			return m
		}
	}
	former := slices.DeleteFunc(slices.Clone(a.wasStandby[t]), func(m int) bool { return !isFree(a.members[m].process) })
	if m := a.formerStandby(t, former); m >= 0 && a.isBalanced(a.members[m].process) {
		return m
	}
	return a.leastLoaded(t, isFree)
}

// formerStandby is the member, of those that had the task as standby, whose process has the least to do; -1 where there is none.
func (a *assignment) formerStandby(t int, former []int) int {
	if len(former) == 0 {
		return -1
	}
	best := a.leastLoadedProcess(t, func(p int) bool {
		return slices.ContainsFunc(former, func(m int) bool { return a.members[m].process == p })
	})
	return former[slices.IndexFunc(former, func(m int) bool { return a.members[m].process == best })]
}

// leastLoaded is the member with the fewest tasks in the process with the least to do of those that may.
func (a *assignment) leastLoaded(t int, may func(process int) bool) int {
	own := a.processes[a.leastLoadedProcess(t, may)].members
	return slices.MinFunc(own, func(x, y int) int { return cmp.Compare(a.members[x].count, a.members[y].count) })
}

// leastLoadedProcess prefers a process where the task comes together with one it has not been together with yet, so that a process that is
// lost does not leave all its tasks to one other.
func (a *assignment) leastLoadedProcess(t int, may func(process int) bool) int {
	best, bestIsNew := -1, false
	for p := range a.processes {
		if may != nil && !may(p) {
			continue
		}
		isNew := a.pairs.isNew(t, a.processes[p].tasks)
		switch {
		case best < 0, isNew && !bestIsNew, isNew == bestIsNew && a.processes[p].load() < a.processes[best].load():
			best, bestIsNew = p, isNew
		}
	}
	return best
}

// isBalanced says that a process can take a task without being ahead of the others.
func (a *assignment) isBalanced(p int) bool {
	if own := &a.processes[p]; len(own.tasks) < len(own.members) {
		return true
	}
	return !slices.ContainsFunc(a.processes, func(other process) bool { return other.load() < a.processes[p].load() })
}

func (a *assignment) give(t, member int, active bool) {
	m := &a.members[member]
	p := &a.processes[m.process]
	m.count++
	a.pairs.add(t, p.tasks)
	p.tasks = append(p.tasks, t)
	a.holders[t] = append(a.holders[t], m.process)
	if !active {
		m.standby = append(m.standby, t)
		return
	}
	m.active = append(m.active, t)
	if p.active++; p.active == a.quota {
		// It has its share; what is left is shared by the others.
		a.takers--
		a.left -= p.active
		a.setQuota()
	}
}

func (a *assignment) result() map[string]TaskSets {
	out := make(map[string]TaskSets, len(a.members))
	for i, id := range a.ids {
		out[id] = TaskSets{Active: a.named(a.members[i].active), Standby: a.named(a.members[i].standby), Warmup: Tasks{}}
	}
	return out
}

func (a *assignment) named(tasks []int) Tasks {
	out := Tasks{}
	slices.Sort(tasks)
	for _, t := range tasks {
		id := a.subtopologies[a.tasks[t].subtopology].ID
		out[id] = append(out[id], a.tasks[t].partition)
	}
	return out
}
