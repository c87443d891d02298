package cluster

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// NewGroup returns coordinators of one group, numbered from 1, that have not been started.
func NewGroup(t testing.TB, count int, flags ...string) []*Node {
	t.Helper()
	var nodes []*Node
	var peers []string
	for i := range count {
		n := New(t, "coordinator")
		route := FreeAddress(t)
		peers = append(peers, fmt.Sprintf("%d=%s:%s", i+1, n.Internal, route[strings.LastIndexByte(route, ':')+1:]))
		nodes = append(nodes, n)
	}
	for i, n := range nodes {
		n.Peers = strings.Join(peers, ",")
		n.fixed = true
		n.SetFlags(append([]string{"--node-id", fmt.Sprint(i + 1), "--peers", n.Peers}, flags...)...)
	}
	return nodes
}

// StartAll starts nodes at the same time and returns when all are ready.
func StartAll(t testing.TB, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		n.Launch()
	}
	errs := make([]error, len(nodes))
	var waiting sync.WaitGroup
	for i, n := range nodes {
		waiting.Go(func() { errs[i] = n.AwaitReady(readyTimeout) })
	}
	waiting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// NATSURL names the embedded NATS servers of coordinators.
func NATSURL(coordinators []*Node) string {
	var urls []string
	for _, n := range coordinators {
		urls = append(urls, "nats://"+n.NATS)
	}
	return strings.Join(urls, ",")
}

// Leads says whether a coordinator of a group leads.
func (n *Node) Leads() bool {
	if !n.Running() {
		return false
	}
	leading, err := n.Metric("varve_coordinator_leading")
	return err == nil && leading == 1
}

// AwaitLeader waits until exactly one of the coordinators leads, and returns it with the others.
func AwaitLeader(t testing.TB, timeout time.Duration, coordinators ...*Node) (leader *Node, others []*Node) {
	t.Helper()
	Eventually(t, timeout, "one coordinator leads", func() error {
		leader, others = nil, nil
		for _, n := range coordinators {
			switch {
			case !n.Leads():
				others = append(others, n)
			case leader != nil:
				return errors.New("two lead")
			default:
				leader = n
			}
		}
		if leader == nil {
			return errors.New("none leads")
		}
		return nil
	})
	return leader, others
}
