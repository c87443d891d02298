//go:build linux

package fault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/varvelog/varve/services/nemesis/cluster"
	"github.com/varvelog/varve/services/nemesis/faultystore"
	"github.com/varvelog/varve/services/nemesis/netns"
)

// Fault is one thing that goes wrong.
type Fault struct {
	Name  string
	begin func() error
	end   func() error
}

// Begin breaks what the fault breaks.
func (f *Fault) Begin() error {
	if err := f.begin(); err != nil {
		return fmt.Errorf("begin %s: %w", f.Name, err)
	}
	return nil
}

// End takes it back.
func (f *Fault) End() error {
	if err := f.end(); err != nil {
		return fmt.Errorf("end %s: %w", f.Name, err)
	}
	return nil
}

// Source draws faults for a cluster.
type Source struct {
	Cluster *cluster.Cluster
	Random  *rand.Rand
	// Clocks says that the clocks of processes can be moved, Power that the power of their disks can be cut.
	Clocks, Power bool
	// Kinds limits what is drawn; all where empty.
	Kinds []string
}

type maker struct {
	weight int
	make   func(*Source) *Fault
}

// kinds of faults, with how often each is drawn.
var kinds = map[string]maker{
	"kill":         {5, (*Source).kill},
	"kill role":    {1, (*Source).killRole},
	"kill all":     {1, (*Source).killAll},
	"power":        {3, (*Source).cutPower},
	"power all":    {1, (*Source).cutAllPower},
	"disk loss":    {2, (*Source).loseDisk},
	"terminate":    {3, (*Source).terminate},
	"pause":        {5, (*Source).pause},
	"isolate":      {3, (*Source).isolate},
	"halves":       {2, (*Source).halves},
	"one way":      {3, (*Source).oneWay},
	"coordinators": {2, (*Source).fromCoordinators},
	"bucket":       {2, (*Source).fromBucket},
	"clients":      {1, (*Source).fromClients},
	"disk":         {2, (*Source).fillDisk},
	"clock":        {3, (*Source).skewClock},
	"store":        {6, (*Source).breakStore},
	"store dies":   {2, (*Source).killStore},
	"store hangs":  {2, (*Source).pauseStore},
}

// order of kinds, so that a seed draws the same.
var order = []string{
	"kill", "kill role", "kill all", "power", "power all", "disk loss", "terminate", "pause", "isolate", "halves", "one way", "coordinators", "bucket", "clients", "disk", "clock",
	"store", "store dies", "store hangs",
}

// Kinds names the kinds of faults there are.
func Kinds() []string { return append([]string{}, order...) }

// possible tells whether a kind can be had here.
func (s *Source) possible(kind string) bool {
	switch kind {
	case "clock":
		return s.Clocks
	case "power", "power all":
		return s.Power
	}
	return true
}

// Draw makes a fault of a random kind.
func (s *Source) Draw() (*Fault, error) {
	wanted := s.Kinds
	if len(wanted) == 0 {
		wanted = order
	}
	sum := 0
	for _, kind := range wanted {
		k, known := kinds[kind]
		if !known {
			return nil, fmt.Errorf("no kind of fault is called %q: there are %s", kind, strings.Join(order, ", "))
		}
		if s.possible(kind) {
			sum += k.weight
		}
	}
	if sum == 0 {
		return nil, fmt.Errorf("none of the wanted faults can be had here: %s", strings.Join(wanted, ", "))
	}
	n := s.Random.IntN(sum)
	for _, kind := range wanted {
		if !s.possible(kind) {
			continue
		}
		if n -= kinds[kind].weight; n < 0 {
			return kinds[kind].make(s), nil
		}
	}
	panic("unreachable: weights add up")
}

// one picks a process.
func (s *Source) one() *cluster.Process {
	return s.Cluster.Processes[s.Random.IntN(len(s.Cluster.Processes))]
}

func (s *Source) kill() *Fault {
	p := s.one()
	return &Fault{Name: "kill " + p.Name, begin: p.Kill, end: p.Start}
}

// each does something to several processes.
func each(processes []*cluster.Process, do func(*cluster.Process) error) error {
	var failed []error
	for _, p := range processes {
		failed = append(failed, do(p))
	}
	return errors.Join(failed...)
}

func (s *Source) killRole() *Fault {
	role := []cluster.Role{cluster.Coordinator, cluster.Ingest, cluster.Tiering}[s.Random.IntN(3)]
	processes := s.Cluster.Of(role)
	return &Fault{
		Name:  fmt.Sprintf("kill every %s process", role),
		begin: func() error { return cluster.Kill(processes) },
		end:   func() error { return each(processes, (*cluster.Process).Start) },
	}
}

// everything is all processes of Varve, and sometimes the store's.
func (s *Source) everything() (what string, processes []*cluster.Process) {
	if s.Random.IntN(3) == 0 {
		return "everything and the store", append([]*cluster.Process{s.Cluster.MinIO}, s.Cluster.Processes...)
	}
	return "everything", s.Cluster.Processes
}

func (s *Source) killAll() *Fault {
	what, processes := s.everything()
	return &Fault{
		Name:  "kill " + what,
		begin: func() error { return cluster.Kill(processes) },
		end:   func() error { return each(processes, (*cluster.Process).Start) },
	}
}

// cutPower ends a process together with what its disk was not told to sync.
func (s *Source) cutPower() *Fault {
	keepers := s.keepers()
	p := keepers[s.Random.IntN(len(keepers))]
	return &Fault{
		Name:  "power off " + p.Name,
		begin: func() error { return cluster.CutPower([]*cluster.Process{p}) },
		end:   p.Start,
	}
}

// cutAllPower leaves the store's disk alone: that it keeps what it has acknowledged is the store's affair.
func (s *Source) cutAllPower() *Fault {
	what, processes := s.everything()
	return &Fault{
		Name:  "power off " + what,
		begin: func() error { return cluster.CutPower(processes) },
		end:   func() error { return each(processes, (*cluster.Process).Start) },
	}
}

// loseDisk brings a process back on an empty disk. What is lost with an ingest node's is given up when everything is healed (Cluster.Forget).
func (s *Source) loseDisk() *Fault {
	keepers := s.keepers()
	p := keepers[s.Random.IntN(len(keepers))]
	return &Fault{Name: "lose the disk of " + p.Name, begin: func() error { return s.Cluster.LoseDisk(p) }, end: p.Start}
}

func (s *Source) killStore() *Fault {
	p := s.Cluster.MinIO
	return &Fault{Name: "kill the store", begin: p.Kill, end: p.Start}
}

func (s *Source) pauseStore() *Fault {
	p := s.Cluster.MinIO
	return &Fault{Name: "pause the store", begin: p.Pause, end: p.Resume}
}

// keepers are the processes that keep something on their disks.
func (s *Source) keepers() []*cluster.Process {
	return append(s.Cluster.Of(cluster.Ingest), s.Cluster.Of(cluster.Coordinator)...)
}

// terminationPatience is more than a process may take to drain.
const terminationPatience = 25 * time.Second

func (s *Source) terminate() *Fault {
	p := s.one()
	ended := make(chan error, 1)
	return &Fault{
		Name:  "terminate " + p.Name,
		begin: func() error { go func() { ended <- p.Terminate(terminationPatience) }(); return nil },
		end:   func() error { return errors.Join(<-ended, p.Start()) },
	}
}

func (s *Source) pause() *Fault {
	processes := []*cluster.Process{s.one()}
	if s.Random.IntN(4) == 0 {
		processes = append(processes, s.one())
	}
	var names []string
	for _, p := range processes {
		names = append(names, p.Name)
	}
	return &Fault{
		Name:  "pause " + strings.Join(names, ", "),
		begin: func() error { return each(processes, (*cluster.Process).Pause) },
		end:   func() error { return each(processes, (*cluster.Process).Resume) },
	}
}

// cut loses packets in the given directions.
func (s *Source) cut(name string, links [][2]*netns.Host) *Fault {
	network := s.Cluster.Network
	change := func(do func(from, to *netns.Host) error) error {
		var failed []error
		for _, l := range links {
			failed = append(failed, do(l[0], l[1]))
		}
		return errors.Join(failed...)
	}
	return &Fault{
		Name:  name,
		begin: func() error { return change(network.Block) },
		end:   func() error { return change(network.Unblock) },
	}
}

// between are both directions between each of one side and each of the other.
func between(one, other []*netns.Host) (links [][2]*netns.Host) {
	for _, a := range one {
		for _, b := range other {
			if a != b {
				links = append(links, [2]*netns.Host{a, b}, [2]*netns.Host{b, a})
			}
		}
	}
	return links
}

func hosts(processes []*cluster.Process) (list []*netns.Host) {
	for _, p := range processes {
		list = append(list, p.Host)
	}
	return list
}

func (s *Source) isolate() *Fault {
	p := s.one()
	return s.cut("isolate "+p.Name, between([]*netns.Host{p.Host}, append(hosts(s.Cluster.Processes), s.Cluster.Bucket)))
}

// halves puts some processes on one side, with the store or without it, and the others on the other. Clients reach both.
func (s *Source) halves() *Fault {
	var one, other []*netns.Host
	var names []string
	for _, i := range s.Random.Perm(len(s.Cluster.Processes)) {
		p := s.Cluster.Processes[i]
		if len(one) < len(s.Cluster.Processes)/2 {
			one = append(one, p.Host)
			names = append(names, p.Name)
		} else {
			other = append(other, p.Host)
		}
	}
	side := "the store"
	if s.Random.IntN(2) == 0 {
		other = append(other, s.Cluster.Bucket)
	} else {
		side = "no store"
		one = append(one, s.Cluster.Bucket)
	}
	return s.cut(fmt.Sprintf("cut off %s from the others (and %s)", strings.Join(names, ", "), side), between(one, other))
}

// oneWay loses what one process sends to some others, but not their answers.
func (s *Source) oneWay() *Fault {
	from := s.one()
	var links [][2]*netns.Host
	var names []string
	certainly := s.one() // somebody, where the dice choose nobody
	for _, p := range s.Cluster.Processes {
		if chosen := s.Random.IntN(2) == 0; p != from && (chosen || p == certainly) {
			links = append(links, [2]*netns.Host{from.Host, p.Host})
			names = append(names, p.Name)
		}
	}
	return s.cut(fmt.Sprintf("lose what %s sends to %s", from.Name, strings.Join(names, ", ")), links)
}

// fromCoordinators cuts a process off from NATS and the leader.
func (s *Source) fromCoordinators() *Fault {
	p := s.one()
	return s.cut("cut off "+p.Name+" from the coordinators", between([]*netns.Host{p.Host}, hosts(s.Cluster.Of(cluster.Coordinator))))
}

func (s *Source) fromBucket() *Fault {
	p := s.one()
	return s.cut("cut off "+p.Name+" from the store", [][2]*netns.Host{{p.Host, s.Cluster.Bucket}})
}

func (s *Source) fromClients() *Fault {
	nodes := s.Cluster.Of(cluster.Ingest)
	p := nodes[s.Random.IntN(len(nodes))]
	return s.cut("cut off "+p.Name+" from clients", [][2]*netns.Host{{p.Host, s.Cluster.Clients}})
}

func (s *Source) fillDisk() *Fault {
	keepers := s.keepers()
	p := keepers[s.Random.IntN(len(keepers))]
	return &Fault{Name: "fill the disk of " + p.Name, begin: p.FillDisk, end: p.FreeDisk}
}

// skewClock moves a clock by up to ten minutes, to either side.
func (s *Source) skewClock() *Fault {
	p := s.one()
	by := time.Duration(s.Random.Int64N(int64(10 * time.Minute)))
	if s.Random.IntN(2) == 0 {
		by = time.Duration(s.Random.Int64N(int64(5 * time.Second)))
	}
	if s.Random.IntN(2) == 0 {
		by = -by
	}
	return &Fault{
		Name:  fmt.Sprintf("move the clock of %s by %s", p.Name, by.Round(time.Millisecond)),
		begin: func() error { return p.SkewClock(by) },
		end:   func() error { return p.SkewClock(0) },
	}
}

func (s *Source) breakStore() *Fault {
	rule := &faultystore.Rule{}
	switch s.Random.IntN(6) {
	case 0:
		rule.Fate, rule.Chance, rule.Delay = faultystore.Slow, 0.1+0.9*s.Random.Float64(), time.Duration(20+s.Random.IntN(3000))*time.Millisecond
	case 1:
		rule.Fate, rule.Chance = faultystore.Stall, 0.1+0.9*s.Random.Float64()
	case 2:
		rule.Fate, rule.Chance = faultystore.SlowDown, 0.1+0.9*s.Random.Float64()
	case 3:
		rule.Fate, rule.Chance = faultystore.Reset, 0.1+0.7*s.Random.Float64()
	case 4:
		rule.Fate, rule.Chance = faultystore.LoseReply, 0.1+0.6*s.Random.Float64()
	case 5:
		rule.Fate, rule.Chance = faultystore.Reset, 1
	}
	who := "everybody"
	if s.Random.IntN(3) == 0 {
		p := s.one()
		who, rule.From = p.Name, p.Host.Address
	}
	return &Fault{
		Name:  fmt.Sprintf("store: %s, %.0f %% of requests of %s", rule.Fate, 100*rule.Chance, who),
		begin: func() error { s.Cluster.Store.Break(rule); return nil },
		end:   func() error { s.Cluster.Store.Heal(rule); return nil },
	}
}
