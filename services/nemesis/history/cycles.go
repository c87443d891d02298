package history

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// checkCycles looks for transactions that depend on each other. A transaction depends on those whose records it read, and on those whose
// records lie below one that it read: a read_committed reader that was given an offset has all transactions below it decided. What
// one process does later depends on what it did before.
//
// The graph has a node for each transaction that has read or has been read, and one for each such offset: writer → offset → next offset →
// reader.
func (c *checker) checkCycles() {
	var order []*txn
	for _, t := range c.txns {
		if c.took(t) {
			order = append(order, t)
		}
	}
	slices.SortFunc(order, func(a, b *txn) int { return cmp.Compare(a.id, b.id) })
	g := &graph{}
	for _, t := range order {
		t.node = g.node(t)
	}
	for _, p := range c.parts {
		c.linkPartition(g, p)
	}
	c.linkProcesses(g, order)
	for _, cycle := range g.cycles() {
		var names []string
		var refs []int
		for _, t := range cycle {
			names = append(names, fmt.Sprint(t.id))
			refs = append(refs, t.event)
			for _, i := range t.sends[:min(len(t.sends), 2)] {
				refs = append(refs, int(c.sends[i].event))
			}
			for _, r := range t.reads[:min(len(t.reads), 2)] {
				refs = append(refs, int(r.event))
			}
		}
		c.report.add(DependencyCycle, refs, "transactions %s depend on each other", strings.Join(names, ", "))
	}
}

// linkPartition adds the offsets of a partition that transactions wrote, with those that read them.
func (c *checker) linkPartition(g *graph, p *partition) {
	index := c.partitions[p.name]
	type touch struct {
		offset int64
		write  bool
		t      *txn
	}
	var touches []touch
	for _, t := range g.txns {
		if t == nil {
			continue
		}
		for _, i := range t.sends {
			if s := &c.sends[i]; s.partition == index && s.at >= 0 {
				touches = append(touches, touch{s.at, true, t})
			}
		}
		for _, r := range t.reads {
			if r.partition == index {
				touches = append(touches, touch{r.offset, false, t})
			}
		}
	}
	slices.SortFunc(touches, func(a, b touch) int { return cmp.Compare(a.offset, b.offset) })
	previous, offset := -1, int64(-1)
	for _, x := range touches {
		if x.offset != offset {
			node := g.node(nil)
			if previous >= 0 {
				g.edge(previous, node)
			}
			previous, offset = node, x.offset
		}
		if x.write {
			g.edge(x.t.node, previous)
		} else {
			g.edge(previous, x.t.node)
		}
	}
}

// linkProcesses puts the transactions of one process in their order.
func (c *checker) linkProcesses(g *graph, order []*txn) {
	last := map[int32]*txn{}
	for _, t := range order {
		if len(t.sends) == 0 {
			continue
		}
		process := c.sends[t.sends[0]].process
		if before := last[process]; before != nil && before.invoke < t.invoke {
			g.edge(before.node, t.node)
		}
		last[process] = t
	}
}

// graph is a directed graph whose nodes are transactions, or nil.
type graph struct {
	txns  []*txn
	edges [][]int32
}

func (g *graph) node(t *txn) int {
	g.txns, g.edges = append(g.txns, t), append(g.edges, nil)
	return len(g.txns) - 1
}

func (g *graph) edge(from, to int) { g.edges[from] = append(g.edges[from], int32(to)) }

// cycles returns the transactions of each strongly connected component with more than one node (Tarjan, without recursion).
func (g *graph) cycles() (cycles [][]*txn) {
	const unvisited = -1
	n := len(g.txns)
	number, low, onStack := make([]int32, n), make([]int32, n), make([]bool, n)
	for i := range number {
		number[i] = unvisited
	}
	type frame struct{ node, edge int32 }
	var stack []int32
	var calls []frame
	var counter int32
	visit := func(v int32) {
		number[v], low[v] = counter, counter
		counter++
		stack, onStack[v] = append(stack, v), true
		calls = append(calls, frame{v, 0})
	}
	for root := range n {
		if number[root] != unvisited {
			continue
		}
		visit(int32(root))
		for len(calls) > 0 {
			top := &calls[len(calls)-1]
			v := top.node
			if int(top.edge) < len(g.edges[v]) {
				w := g.edges[v][top.edge]
				top.edge++
				if number[w] == unvisited {
					visit(w)
				} else if onStack[w] {
					low[v] = min(low[v], number[w])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				parent := calls[len(calls)-1].node
				low[parent] = min(low[parent], low[v])
			}
			if low[v] != number[v] {
				continue
			}
			at := len(stack) - 1
			for stack[at] != v {
				at--
			}
			component := stack[at:]
			var cycle []*txn
			for _, w := range component {
				onStack[w] = false
				if g.txns[w] != nil {
					cycle = append(cycle, g.txns[w])
				}
			}
			if len(component) > 1 {
				cycles = append(cycles, cycle)
			}
			stack = stack[:at]
		}
	}
	return cycles
}
