package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// streamsProtocol is the group protocol of the applications on Varve: classic, or streams (KIP-1071). The protocol is no business of what
// comes out, so that the reference is always the classic one's.
func streamsProtocol() string {
	if p := os.Getenv("VARVE_CONFORMANCE_STREAMS_PROTOCOL"); p != "" {
		return p
	}
	return "classic"
}

const (
	streamsSeed   = 4
	streamsSteps  = 40 // of input; the next is written when the output is two behind
	stepLines     = 80
	stepClicks    = 80
	wordsPerLine  = 5
	streamsUsers  = 40
	streamsGroup  = "shop"
	countedPerRun = streamsSteps * stepLines * wordsPerLine
)

// streamsOutputs are the output topics of StreamsApp, with the number of records that the input makes.
var streamsOutputs = map[string]int{
	"counted": countedPerRun, "windowed": streamsSteps * stepClicks, "joined": streamsSteps * stepClicks, "spread": streamsSteps * stepClicks,
}

// streamsInput is the same for every server: users, and then steps of lines and clicks.
func streamsInput(begin time.Time) (users []*kgo.Record, steps [][]*kgo.Record) {
	random := rand.New(rand.NewPCG(streamsSeed, streamsSeed))
	user := func() []byte { return fmt.Appendf(nil, "user-%d", random.IntN(streamsUsers)) }
	for i := range streamsUsers {
		users = append(users, &kgo.Record{Topic: "users", Key: fmt.Appendf(nil, "user-%d", i), Value: fmt.Appendf(nil, "name-%d", random.IntN(1000)), Timestamp: begin})
	}
	for step := range streamsSteps {
		var records []*kgo.Record
		for i := range stepLines {
			words := make([]string, wordsPerLine)
			for w := range words {
				words[w] = fmt.Sprintf("word-%d", int(random.ExpFloat64()*30))
			}
			records = append(records, &kgo.Record{Topic: "lines", Key: fmt.Appendf(nil, "%d", i), Value: []byte(strings.Join(words, " ")),
				Timestamp: begin.Add(time.Duration(step) * time.Second)})
		}
		for range stepClicks {
			// Out of order, by less than the grace of the windows.
			at := begin.Add(time.Duration(step)*time.Second + time.Duration(random.IntN(4000))*time.Millisecond)
			records = append(records, &kgo.Record{Topic: "clicks", Key: user(), Value: fmt.Appendf(nil, "%d", random.IntN(100)), Timestamp: at})
		}
		steps = append(steps, records)
	}
	return users, steps
}

// streamsRun is one run of the application against one server.
type streamsRun struct {
	t       *testing.T
	address string
	classes string
	dir     string
	static  bool   // members keep their places over a restart (KIP-345)
	group   string // its protocol
	apps    map[string]*javaProcess
	counted atomic.Int64 // records read from the topic counted
}

func (r *streamsRun) stateDir(name string) string { return filepath.Join(r.dir, name) }

// launch starts an instance, or starts it again on what it left behind.
func (r *streamsRun) launch(name string) {
	r.t.Helper()
	if r.apps[name] == nil {
		properties := map[string]string{
			"application.id": streamsGroup, "bootstrap.servers": r.address, "client.id": name, "state.dir": r.stateDir(name), "group.protocol": r.group,
			"processing.guarantee": "exactly_once_v2", "statestore.cache.max.bytes": "0", "repartition.purge.interval.ms": "1000",
		}
		if r.group == "classic" { // elsewhere these are the group's configuration
			properties["num.standby.replicas"] = "1"
			properties["consumer.session.timeout.ms"], properties["consumer.heartbeat.interval.ms"] = "6000", "1000"
			if r.static {
				properties["group.instance.id"] = name
			}
		}
		file := writeProperties(r.t, filepath.Join(r.dir, name+".properties"), properties)
		r.apps[name] = newJava(r.t, name, r.classes, "StreamsApp", "everything", file)
	}
	r.apps[name].start()
}

// check fails the test where an instance has given up.
func (r *streamsRun) check() {
	r.t.Helper()
	for _, app := range r.apps {
		if app.running() {
			continue
		}
		r.t.Fatalf("%s has ended by itself: %v", app.name, app.command.ProcessState)
	}
}

func (r *streamsRun) awaitCounted(n int) {
	r.t.Helper()
	cluster.Eventually(r.t, patience, fmt.Sprintf("%d words are counted", n), func() error {
		r.check()
		if seen := r.counted.Load(); seen < int64(n) {
			return fmt.Errorf("%d are", seen)
		}
		return nil
	})
}

// play runs the input through the application. At each step it first does what the script says, in the middle of the work: up to two
// steps of input are not processed yet. It returns what is in the output topics.
func (r *streamsRun) play(begin time.Time, script map[int]func()) map[string][]*kgo.Record {
	t := r.t
	users, steps := streamsInput(begin)
	mustCreate(t, r.address, 4, []string{"lines", "clicks", "users"})
	mustCreate(t, r.address, 4, slices.Collect(maps.Keys(streamsOutputs)))
	producer := newClient(t, r.address, kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))
	mustProduce(t, producer, users)

	watcher := newClient(t, r.address, kgo.ConsumeTopics("counted"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	defer func() { cancel(); <-watched }()
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			r.counted.Add(int64(watcher.PollFetches(ctx).NumRecords()))
		}
	}()

	r.launch("one")
	admin := kadm.NewClient(newClient(t, r.address))
	cluster.Eventually(t, patience, "the table has been read", func() error {
		r.check()
		offsets, err := admin.FetchOffsetsForTopics(t.Context(), streamsGroup, "users")
		if err = errors.Join(err, offsets.Error()); err != nil {
			return err
		}
		read := int64(0)
		offsets.Each(func(o kadm.OffsetResponse) { read += max(0, o.At) })
		if read < streamsUsers {
			return fmt.Errorf("%d of %d", read, streamsUsers)
		}
		return nil
	})
	for step, records := range steps {
		r.awaitCounted((step - 2) * stepLines * wordsPerLine)
		if do := script[step]; do != nil {
			do()
		}
		mustProduce(t, producer, records)
	}
	r.awaitCounted(countedPerRun)
	cluster.Eventually(t, patience, "everything is in the outputs", func() error {
		r.check()
		for topic, records := range readCommitted(t, r.address, slices.Collect(maps.Keys(streamsOutputs))...) {
			if len(records) < streamsOutputs[topic] {
				return fmt.Errorf("%d of %d in %s", len(records), streamsOutputs[topic], topic)
			}
		}
		return nil
	})
	for _, name := range slices.Sorted(maps.Keys(r.apps)) {
		r.apps[name].stop()
	}
	return readCommitted(t, r.address, slices.Collect(maps.Keys(streamsOutputs))...)
}

// killInstances is the script that SIGKILLs instances: the first goes on with what it has on disk, the second loses its disk too.
func (r *streamsRun) killInstances() map[int]func() {
	return map[int]func(){
		6:  func() { r.launch("two") },
		16: func() { r.awaitMembers(2); r.apps["one"].kill(); r.launch("one") },
		28: func() {
			r.awaitMembers(2)
			r.apps["two"].kill()
			if err := os.RemoveAll(r.stateDir("two")); err != nil {
				r.t.Fatal(err)
			}
			r.launch("two")
		},
	}
}

// awaitMembers returns when the group is stable with so many members.
func (r *streamsRun) awaitMembers(n int) {
	r.t.Helper()
	if streamsProtocol() == "streams" {
		awaitStreamsMembers(r.t, r.address, streamsGroup, n, r.check)
		return
	}
	admin := kadm.NewClient(newClient(r.t, r.address))
	cluster.Eventually(r.t, patience, fmt.Sprintf("%d members", n), func() error {
		r.check()
		groups, err := admin.DescribeGroups(r.t.Context(), streamsGroup)
		if err = errors.Join(err, groups.Error()); err != nil {
			return err
		}
		if g := groups[streamsGroup]; g.State != "Stable" || len(g.Members) != n {
			return fmt.Errorf("%s with %d", g.State, len(g.Members))
		}
		return nil
	})
}

// perKey is the sequence of values of each key.
func perKey(records []*kgo.Record, timestamps bool) map[string][]string {
	sequences := map[string][]string{}
	for _, r := range records {
		text := string(r.Value)
		if timestamps {
			text += fmt.Sprintf(" at %d", r.Timestamp.UnixMilli())
		}
		sequences[string(r.Key)] = append(sequences[string(r.Key)], text)
	}
	return sequences
}

// compareOutputs wants the same sequence of values for every key of every output, with the same timestamps where one input partition
// decides them.
func compareOutputs(t *testing.T, name string, kafka, varve map[string][]*kgo.Record) {
	t.Helper()
	for topic, count := range streamsOutputs {
		timestamps := topic != "counted"
		k, v := perKey(kafka[topic], timestamps), perKey(varve[topic], timestamps)
		if len(kafka[topic]) != count || len(varve[topic]) != count {
			t.Errorf("%s: %s has %d records on Kafka and %d on Varve, of %d", name, topic, len(kafka[topic]), len(varve[topic]), count)
		}
		different := 0
		for key := range maps.Keys(k) {
			if slices.Equal(k[key], v[key]) {
				continue
			}
			if different++; different <= 3 {
				t.Errorf("%s: %s of %s: Kafka has %d values, Varve %d:\n%.500q\n%.500q", name, topic, key, len(k[key]), len(v[key]), k[key], v[key])
			}
		}
		for key := range v {
			if _, ok := k[key]; !ok {
				t.Errorf("%s: %s has the key %s on Varve alone", name, topic, key)
			}
		}
		if different == 0 && !t.Failed() {
			holds("streams, %s: %s is the same on both: %d keys, %d records in their order", name, topic, len(k), count)
		}
	}
}

// TestStreams runs one Kafka Streams application, exactly once, on Apache Kafka and on Varve, killed again and again, and wants the same out of both.
func TestStreams(t *testing.T) {
	needGate(t)
	classes := streamsClasses(t, "StreamsApp")
	begin := time.Now().Truncate(time.Hour).Add(-time.Hour)
	run := func(t *testing.T, address string) *streamsRun {
		return &streamsRun{t: t, address: address, classes: classes, dir: t.TempDir(), apps: map[string]*javaProcess{}, group: streamsProtocol()}
	}
	var reference map[string][]*kgo.Record
	onKafka := map[string]string{} // what the clients complain of there
	t.Run("on Kafka", func(t *testing.T) {
		r := run(t, startStreamsKafka(t).address)
		reference = r.play(begin, r.killInstances())
		for _, app := range r.apps {
			maps.Copy(onKafka, shapes(app.text()))
		}
	})
	if reference == nil {
		t.Fatal("nothing to compare with")
	}
	t.Run("killed", func(t *testing.T) {
		r := run(t, cluster.Serve(t).Kafka)
		compareOutputs(t, "instances killed", reference, r.play(begin, r.killInstances()))
		r.checkLogs(onKafka)
	})
	t.Run("server killed", func(t *testing.T) {
		// Changelogs are restored from segments in the bucket, for the most part.
		node := cluster.Serve(t, "--seal-age=200ms", "--hot-segment-bytes=16MiB", "--delete-delay=0s", "--sweep-interval=1s")
		r := run(t, node.Kafka)
		r.static = true
		again := func() { node.Kill(); node.Start() }
		outputs := r.play(begin, map[int]func(){
			6: func() { r.launch("two") }, 12: again,
			20: func() { r.awaitMembers(2); node.Kill(); r.apps["one"].kill(); node.Start(); r.launch("one") },
			30: again,
		})
		compareOutputs(t, "server killed", reference, outputs)
		r.checkLogs(onKafka, restartWarnings...)
	})
	t.Run("nodes killed", func(t *testing.T) {
		roles := cluster.StartRoles(t, cluster.RolesConfig{})
		r := run(t, roles.Ingest[0].Kafka+","+roles.Ingest[1].Kafka)
		again := func(node *cluster.Node) func() { return func() { node.Kill(); node.Start() } }
		outputs := r.play(begin, map[int]func(){
			6: func() { r.launch("two") }, 12: again(roles.Ingest[0]), 18: again(roles.Coordinator),
			24: func() { r.awaitMembers(2); r.apps["one"].kill(); r.launch("one") }, 30: again(roles.Ingest[1]),
		})
		compareOutputs(t, "nodes killed", reference, outputs)
		r.checkLogs(onKafka, restartWarnings...)
	})
}

// checkLogs fails the test for what the instances say that they would not say on Apache Kafka.
func (r *streamsRun) checkLogs(onKafka map[string]string, expected ...complaint) {
	r.t.Helper()
	for _, app := range r.apps {
		checkLog(r.t, app, onKafka, slices.Concat(usualWarnings, expected)...)
	}
}
