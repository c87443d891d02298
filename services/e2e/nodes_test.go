package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// addIngest starts one more ingest node of a cluster, with an empty disk.
func addIngest(t *testing.T, r *cluster.Roles, flags ...string) *cluster.Node {
	t.Helper()
	n := cluster.New(t, "ingest", append(append([]string{}, r.Ingest[0].Flags()...), flags...)...)
	n.Start()
	r.Ingest = append(r.Ingest, n)
	return n
}

func TestScalingToZeroLosesNothing(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3})
	createTopic(t, r.Ingest[0], "scaled", 6, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	var want []*kgo.Record
	left := r.Ingest
	for i, n := range r.Ingest {
		// The seal age is far away: what is written now is in active segments, and in no object.
		records := numbered("scaled", fmt.Sprintf("n%d", i), 0, 500)
		produce(t, dial(t, n), records...)
		want = append(want, records...)
		left = left[1:]
		n.Stop()
		if log := n.Log(); !strings.Contains(log, "drained: nothing on this disk is needed any more") {
			t.Errorf("%s did not say that nothing is left", n)
		}
		if err := os.RemoveAll(n.DataDir); err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			awaitNodes(t, left[0], left...)
		}
	}
	again := addIngest(t, r)
	awaitNodes(t, again, again)
	compare(t, flatten(readAll(t, again, "scaled")), want)
}

func TestScalingInBeforeADiskIsLostLosesNothing(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	createTopic(t, r.Ingest[0], "pairs", 6, "varve.durability", "replicated")
	var want []*kgo.Record
	for i, n := range r.Ingest {
		records := numbered("pairs", fmt.Sprintf("n%d", i), 0, 500)
		produce(t, dial(t, n), records...)
		want = append(want, records...)
	}
	// One node is not needed any more, whoever wrote what it has in common with the other, whose segments are open.
	gone, lost := r.Ingest[0], r.Ingest[1]
	gone.Stop()
	if log := gone.Log(); !strings.Contains(log, "drained: nothing on this disk is needed any more") {
		t.Errorf("%s did not say that nothing is left", gone)
	}
	lost.Kill()
	for _, n := range []*cluster.Node{gone, lost} {
		if err := os.RemoveAll(n.DataDir); err != nil {
			t.Fatal(err)
		}
	}
	again := addIngest(t, r)
	awaitNodes(t, again, again)
	compare(t, flatten(readAll(t, again, "pairs")), want)
}

func TestADrainWithoutWorkersSaysWhatIsLeft(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Flags: []string{"--drain-timeout=2s"}})
	createTopic(t, r.Ingest[0], "left", 1, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	records := numbered("left", "r", 0, 100)
	client := dial(t, r.Ingest[0], kgo.MaxProduceRequestsInflightPerBroker(1))
	produce(t, client, records...)
	r.Tiering.Kill()
	var holders []*cluster.Node
	for _, n := range r.Ingest {
		if files := cluster.Files(t, n.HotLogDir(), ""); len(files) > 0 {
			holders = append(holders, n)
		}
	}
	for _, n := range holders {
		n.Stop()
	}
	told := 0
	for _, n := range holders {
		told += strings.Count(n.Log(), "its disk must return")
	}
	if told != 1 {
		t.Errorf("%d nodes said that their disks must return, want the one that has the records", told)
	}
	for _, n := range holders {
		n.Start()
	}
	compare(t, flatten(readAll(t, r.Ingest[0], "left")), records)
}

func TestMetadataFollowNodesWithinASecond(t *testing.T) {
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	within := func(what string, bound time.Duration, act func(), want ...*cluster.Node) {
		t.Helper()
		act()
		began := time.Now()
		awaitNodes(t, r.Ingest[0], want...)
		if took := time.Since(began); took > bound {
			t.Errorf("%s: metadata followed after %v", what, took)
		}
	}
	// A process that was killed is noticed by its connections; one that is frozen says nothing, and is missed.
	within("a killed node", time.Second, r.Ingest[2].Kill, r.Ingest[:2]...)
	within("a node that starts", time.Second, r.Ingest[2].Start, r.Ingest...)
	within("a frozen node", 3*time.Second, r.Ingest[2].Freeze, r.Ingest[:2]...)
	within("a node that goes on", 5*time.Second, r.Ingest[2].Thaw, r.Ingest...)
	within("a node that has drained", time.Second, r.Ingest[2].Stop, r.Ingest[:2]...)
}
