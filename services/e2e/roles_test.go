package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/infra/bus"
	"github.com/varvelog/varve/localstack/minio/miniotest"
	"github.com/varvelog/varve/services/e2e/cluster"
)

// minioBucket starts a MinIO server for the test and returns a bucket's URL.
func minioBucket(t *testing.T) string {
	t.Helper()
	return "minio://" + miniotest.Start(t).Address + "/varve/cluster?secure=false&create=true"
}

func TestRolesInProcessesOfTheirOwnOnMinIO(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Bucket: minioBucket(t), Flags: append([]string{"--job-lease=5s"}, quickTiering...)})
	const partitions = 6
	createTopic(t, r.Ingest[0], "shared", partitions, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)

	// Both nodes know what either took, at once.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := startLoad(t, ctx, r.Ingest, "shared", partitions, true, true, false)
	var received tally
	readers := []*member{join(t, r.Ingest[0], "sharers", "shared", &received), join(t, r.Ingest[1], "sharers", "shared", &received)}
	l.await(t, 500)
	awaitMembers(t, r.Ingest[1], "sharers", "shared", 2, partitions)

	for _, victim := range []*cluster.Node{r.Ingest[0], r.Ingest[1], r.Tiering, r.Coordinator} {
		l.await(t, 200)
		victim.Kill()
		victim.Start()
	}
	l.await(t, 500)
	stop()
	l.finish(t)
	content := readAll(t, r.Ingest[1], "shared")
	l.check(t, content)
	awaitShipped(t, r.Ingest[0], "shared", partitions)
	compare(t, flatten(readAll(t, r.Ingest[0], "shared")), flatten(content))
	cluster.Eventually(t, patience, "the group has received everything", func() error {
		if got, want := received.distinct(), len(flatten(content)); got != want {
			return fmt.Errorf("%d of %d records", got, want)
		}
		return nil
	})
	for _, reader := range readers {
		reader.leave()
	}
	for _, n := range []*cluster.Node{r.Tiering, r.Ingest[0], r.Ingest[1], r.Coordinator} {
		n.Stop()
	}
}

func TestConsumersAreWokenByTheOtherNodesCommit(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{})
	createTopic(t, r.Ingest[0], "woken", 1, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	client := dial(t, r.Ingest[0])
	// Every fetch would wait for ten seconds if nothing woke it.
	consumer := dial(t, r.Ingest[1], kgo.ConsumeTopics("woken"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(10*time.Second))
	const rounds = 50
	var waits []time.Duration
	for i := range rounds {
		sent := time.Now()
		produce(t, client, numbered("woken", "r", i, 1)...)
		collect(t, consumer, 1)
		waits = append(waits, time.Since(sent))
	}
	slow := 0
	for _, wait := range waits {
		if wait > 5*time.Second {
			slow++
		}
	}
	if slow > 0 {
		t.Errorf("%d of %d records came late: %v", slow, rounds, waits)
	}
}

func TestANodeThatIsFrozenLosesNothingAndReturns(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{})
	createTopic(t, r.Ingest[0], "frozen", 4, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := startLoad(t, ctx, r.Ingest, "frozen", 4, true, true)
	l.await(t, 300)
	r.Ingest[0].Freeze()
	awaitNodes(t, r.Ingest[1], r.Ingest[1]) // the other one is taken for dead
	r.Ingest[0].Thaw()
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	l.await(t, 500)
	stop()
	l.finish(t)
	l.check(t, readAll(t, r.Ingest[0], "frozen"))
	l.check(t, readAll(t, r.Ingest[1], "frozen"))
}

func TestNATSMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	address := cluster.FreeAddress(t)
	server := startNATS(t, address)
	r := cluster.StartRoles(t, cluster.RolesConfig{NATSURL: "nats://" + address, Flags: append([]string{"--metalog=bucket"}, quickTiering...)})
	createTopic(t, r.Ingest[0], "hints", 2, "varve.durability", "local")
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	client := dial(t, r.Ingest[0])
	manual := func(i int) *kgo.Record {
		return &kgo.Record{Topic: "hints", Value: fmt.Append(nil, i), Key: fmt.Append(nil, i)}
	}
	consumer := dial(t, r.Ingest[1], kgo.ConsumeTopics("hints"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	sent := 0
	exchange := func(t *testing.T, count int) {
		t.Helper()
		for range count {
			produce(t, client, manual(sent))
			collect(t, consumer, 1)
			sent++
		}
	}
	exchange(t, 20)
	server.Shutdown()
	exchange(t, 5) // replicas ask the log, since nobody tells them
	// A process that starts meanwhile gets on, too.
	r.Ingest[1].Kill()
	r.Ingest[1].Launch()
	exchange(t, 3)
	startNATS(t, address)
	if err := r.Ingest[1].AwaitReady(patience); err != nil {
		t.Fatal(err)
	}
	exchange(t, 20)
	awaitShipped(t, r.Ingest[0], "hints", 2)
	if got := len(flatten(readAll(t, r.Ingest[1], "hints"))); got != sent {
		t.Errorf("%d records of %d", got, sent)
	}
	for _, n := range []*cluster.Node{r.Coordinator, r.Ingest[0], r.Tiering} {
		if err := n.AwaitReady(patience); err != nil {
			t.Errorf("%s: %v", n, err)
		}
	}
}

// startNATS starts a NATS server that is no part of Varve's processes.
func startNATS(t *testing.T, address string) *bus.Server {
	t.Helper()
	return startServer(t, bus.ServerConfig{ListenAddr: address, Name: "external"})
}

// startJetStream is startNATS with a store.
func startJetStream(t *testing.T, address string) *bus.Server {
	t.Helper()
	return startServer(t, bus.ServerConfig{ListenAddr: address, Name: "external", StoreDir: t.TempDir()})
}

func startServer(t *testing.T, config bus.ServerConfig) *bus.Server {
	t.Helper()
	server, err := bus.StartServer(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	return server
}

func TestObjectTopicsOfAClusterSurviveEveryNode(t *testing.T) {
	t.Parallel()
	bucket := minioBucket(t)
	flags := []string{"--metalog=bucket", "--object-puts-per-second=100"}
	first := cluster.StartRoles(t, cluster.RolesConfig{Bucket: bucket, Flags: flags})
	createTopic(t, first.Ingest[0], "all", 2) // in a cluster, object is the default
	awaitNodes(t, first.Ingest[0], first.Ingest...)
	var want []*kgo.Record
	for i, n := range first.Ingest {
		records := numbered("all", fmt.Sprintf("n%d", i), 0, 200)
		produce(t, dial(t, n), records...)
		want = append(want, records...)
	}
	for _, n := range append(first.Ingest, first.Coordinator, first.Tiering) {
		n.Kill()
	}
	second := cluster.StartRoles(t, cluster.RolesConfig{Bucket: bucket, Ingest: 1, Flags: flags})
	awaitNodes(t, second.Ingest[0], second.Ingest...)
	compare(t, flatten(readAll(t, second.Ingest[0], "all")), want)
}
