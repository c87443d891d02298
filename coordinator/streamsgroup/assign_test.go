package streamsgroup

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/partset"
)

func stateless(id string, tasks int32) Subtopology { return Subtopology{ID: id, Tasks: tasks} }

func stateful(id string, tasks int32) Subtopology {
	return Subtopology{ID: id, Tasks: tasks, Changelogs: []*metapb.StreamsTopicInfo{{Name: id + "-changelog"}}}
}

// threads makes members of processes, in turn.
func threads(members, processes int) []Member {
	out := make([]Member, members)
	for i := range out {
		out[i] = Member{ID: fmt.Sprintf("m%02d", i), Process: fmt.Sprintf("p%02d", i%processes)}
	}
	return out
}

// settled has each member's target be what it was given.
func settled(members []Member, given map[string]TaskSets) []Member {
	out := make([]Member, len(members))
	for i, m := range members {
		m.Target = given[m.ID]
		out[i] = m
	}
	return out
}

// check verifies what every assignment must be, and returns how many tasks each process has.
func check(t interface {
	Helper()
	Errorf(string, ...any)
}, subtopologies []Subtopology, members []Member, standbys int, given map[string]TaskSets) map[string]int {
	t.Helper()
	active, copies := map[string]string{}, map[string]map[string]bool{}
	load := map[string]int{}
	for _, m := range members {
		sets, answered := given[m.ID]
		if !answered {
			t.Errorf("%s has no answer", m.ID)
		}
		load[m.Process] += sets.Count()
		for _, tasks := range []Tasks{sets.Active, sets.Standby} {
			for id, partitions := range tasks {
				for _, p := range partitions {
					task := fmt.Sprintf("%s_%d", id, p)
					if copies[task] == nil {
						copies[task] = map[string]bool{}
					}
					if copies[task][m.Process] {
						t.Errorf("%s is twice in process %s", task, m.Process)
					}
					copies[task][m.Process] = true
				}
			}
		}
		partset.Any(sets.Active, func(id string, p int32) bool {
			task := fmt.Sprintf("%s_%d", id, p)
			if other, twice := active[task]; twice {
				t.Errorf("%s is active with %s and %s", task, other, m.ID)
			}
			active[task] = m.ID
			return false
		})
	}
	processes := len(load)
	all := 0
	for i := range subtopologies {
		s := &subtopologies[i]
		all += int(s.Tasks)
		for p := range s.Tasks {
			task := fmt.Sprintf("%s_%d", s.ID, p)
			want := 1
			if s.IsStateful() {
				want += min(standbys, processes-1)
			}
			if active[task] == "" || len(copies[task]) != want {
				t.Errorf("%s is active with %q and in %d processes, want %d", task, active[task], len(copies[task]), want)
			}
		}
	}
	if len(active) != all {
		t.Errorf("%d tasks are active, of %d", len(active), all)
	}
	return load
}

func TestAssignmentsAreWholeAndExclusive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var subtopologies []Subtopology
		for i := range rapid.IntRange(1, 4).Draw(t, "subtopologies") {
			make := stateless
			if rapid.Bool().Draw(t, "stateful") {
				make = stateful
			}
			subtopologies = append(subtopologies, make(fmt.Sprint(i), int32(rapid.IntRange(1, 8).Draw(t, "tasks"))))
		}
		standbys := rapid.IntRange(0, 2).Draw(t, "standbys")
		var members []Member
		next := 0
		for range rapid.IntRange(1, 8).Draw(t, "changes") {
			if len(members) > 1 && rapid.Bool().Draw(t, "leaves") {
				gone := rapid.IntRange(0, len(members)-1).Draw(t, "who")
				members = append(members[:gone:gone], members[gone+1:]...)
			} else {
				members = append(members, Member{ID: fmt.Sprint("m", next), Process: fmt.Sprint("p", rapid.IntRange(0, 3).Draw(t, "process"))})
				next++
			}
			given := Assign(subtopologies, members, standbys)
			check(t, subtopologies, members, standbys, given)
			members = settled(members, given)
		}
	})
}

func TestAssignmentsAreBalanced(t *testing.T) {
	for _, c := range []struct{ members, processes int }{{1, 1}, {3, 3}, {4, 2}, {6, 3}, {7, 7}} {
		subtopologies := []Subtopology{stateless("0", 12), stateful("1", 12)}
		members := threads(c.members, c.processes)
		load := check(t, subtopologies, members, 0, Assign(subtopologies, members, 0))
		least, most := 24, 0
		for _, n := range load {
			least, most = min(least, n), max(most, n)
		}
		if most-least > 1 {
			t.Errorf("%d members of %d processes: loads %v", c.members, c.processes, load)
		}
	}
}

func TestWhatNeedNotMoveStays(t *testing.T) {
	subtopologies := []Subtopology{stateful("0", 8), stateful("1", 8)}
	members := threads(4, 4)
	before := Assign(subtopologies, members, 1)
	members = settled(members, before)
	for id, again := range Assign(subtopologies, members, 1) {
		if !again.Active.equal(before[id].Active) {
			t.Errorf("%s had %v and gets %v, with nothing changed", id, before[id].Active, again.Active)
		}
	}
	left := members[1:]
	after := Assign(subtopologies, left, 1)
	check(t, subtopologies, left, 1, after)
	for _, m := range left {
		if !partset.Within(before[m.ID].Active, after[m.ID].Active) {
			t.Errorf("%s had %v and gets %v, when another left", m.ID, before[m.ID].Active, after[m.ID].Active)
		}
	}
	joined := append(members[:4:4], Member{ID: "new", Process: "new"})
	after = Assign(subtopologies, joined, 1)
	check(t, subtopologies, joined, 1, after)
	moved := 0
	for _, m := range members {
		if !partset.Within(after[m.ID].Active, before[m.ID].Active) {
			t.Errorf("%s gets %v that it had not, when another came", m.ID, partset.Minus(after[m.ID].Active, before[m.ID].Active))
		}
		moved += partset.Count(partset.Minus(before[m.ID].Active, after[m.ID].Active))
	}
	if moved == 0 || moved > 4 {
		t.Errorf("%d of 16 tasks move to the fifth member", moved)
	}
}

func (t Tasks) equal(other Tasks) bool { return partset.Equal(t, other) }

func TestAStandbyTakesOver(t *testing.T) {
	subtopologies := []Subtopology{stateful("0", 6)}
	members := threads(3, 3)
	before := Assign(subtopologies, members, 1)
	lost := before[members[0].ID].Active
	left := settled(members, before)[1:]
	after := Assign(subtopologies, left, 1)
	for _, m := range left {
		taken := partset.And(after[m.ID].Active, lost)
		if !partset.Within(taken, before[m.ID].Standby) {
			t.Errorf("%s takes over %v, and had copies of %v", m.ID, taken, before[m.ID].Standby)
		}
	}
}

func TestTasksTooManyToRememberWhichComeTogether(t *testing.T) {
	subtopologies := []Subtopology{stateless("0", maxPairedTasks), stateful("1", 100)}
	members := threads(4, 2)
	given := Assign(subtopologies, members, 1)
	check(t, subtopologies, members, 1, given)
	members = settled(members, given)
	rand.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	for id, again := range Assign(subtopologies, members, 1) {
		if !again.Equal(given[id]) {
			t.Fatalf("%s gets something else when nothing has changed but the order", id)
		}
	}
}

func BenchmarkAssign(b *testing.B) {
	subtopologies := []Subtopology{stateless("0", 1000), stateful("1", 1000)}
	members := settled(threads(100, 50), Assign(subtopologies, threads(100, 50), 1))
	for b.Loop() {
		Assign(subtopologies, members[1:], 1)
	}
}
