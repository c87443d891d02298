package conformance

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

const (
	streamsGroupsTool = "org.apache.kafka.tools.streams.StreamsGroupCommand"
	allGroupsTool     = "org.apache.kafka.tools.GroupsCommand"
)

// startStreamsKafka starts a broker that speaks the streams protocol where that is asked for; Kafka 4.1 does so only when it is told to.
func startStreamsKafka(t *testing.T) *server {
	t.Helper()
	if streamsProtocol() != "streams" {
		return startKafka(t)
	}
	return startKafkaWith(t, unstableKafka, "streams.version=1")
}

const unstableKafka = "unstable.api.versions.enable=true\nunstable.feature.versions.enable=true\n"

// awaitStreamsMembers returns when a streams group is stable with so many members.
func awaitStreamsMembers(t *testing.T, address, group string, n int, check func()) {
	t.Helper()
	client := newClient(t, strings.Split(address, ",")[0])
	cluster.Eventually(t, patience, fmt.Sprintf("%d members", n), func() error {
		check()
		answer, err := describing(group).RequestWith(t.Context(), client)
		if err != nil {
			return err
		}
		if g := answer.Groups[0]; g.State != "Stable" || len(g.Members) != n {
			return fmt.Errorf("%s with %d", g.State, len(g.Members))
		}
		return nil
	})
}

// streamsCount is a word count under the streams protocol (KIP-1071).
type streamsCount struct {
	t       *testing.T
	address string
	classes string
	dir     string
	apps    map[string]*javaProcess
	want    map[string]int64
}

const streamsCountGroup = "wordcount"

func newStreamsCount(t *testing.T, address string) *streamsCount {
	t.Helper()
	mustCreate(t, address, 4, []string{"lines", "counted"})
	return &streamsCount{t: t, address: address, classes: streamsClasses(t, "WordCountApp"), dir: t.TempDir(), apps: map[string]*javaProcess{}, want: map[string]int64{}}
}

// launch starts an instance of two threads, or starts it again on what it left behind.
func (r *streamsCount) launch(name string) {
	r.t.Helper()
	if r.apps[name] == nil {
		file := writeProperties(r.t, filepath.Join(r.dir, name+".properties"), map[string]string{
			"application.id": streamsCountGroup, "bootstrap.servers": r.address, "client.id": name, "state.dir": filepath.Join(r.dir, name),
			"group.protocol": "streams", "processing.guarantee": "exactly_once_v2", "commit.interval.ms": "100", "num.stream.threads": "2",
			"application.server": name + ":1", "consumer.auto.offset.reset": "earliest",
			"default.key.serde": "org.apache.kafka.common.serialization.Serdes$StringSerde", "default.value.serde": "org.apache.kafka.common.serialization.Serdes$StringSerde",
		})
		r.apps[name] = newJava(r.t, name, r.classes, "WordCountApp", file)
	}
	r.apps[name].start()
}

// count sends lines, and waits until every word has been counted exactly once.
func (r *streamsCount) count(step string) {
	t := r.t
	t.Helper()
	producer := newClient(t, r.address)
	var records []*kgo.Record
	for i := range 200 {
		line := []string{fmt.Sprintf("word%d", i%37), fmt.Sprintf("word%d", i%11), step}
		for _, word := range line {
			r.want[word]++
		}
		records = append(records, &kgo.Record{Topic: "lines", Key: fmt.Appendf(nil, "%d", i), Value: []byte(strings.Join(line, " "))})
	}
	mustProduce(t, producer, records)
	cluster.Eventually(t, patience, "the words of "+step+" are counted", func() error {
		for _, app := range r.apps {
			if app.command.ProcessState != nil && !app.command.ProcessState.Exited() {
				continue // it was killed
			}
			if err := app.mustRun(); err != nil {
				return err
			}
		}
		got, total, sent := map[string]int64{}, 0, int64(0)
		for _, record := range readCommitted(t, r.address, "counted")["counted"] {
			total++
			for i, b := range record.Value {
				if i == 0 {
					got[string(record.Key)] = 0
				}
				got[string(record.Key)] = got[string(record.Key)]<<8 | int64(b)
			}
		}
		for _, n := range r.want {
			sent += n
		}
		if !maps.Equal(got, r.want) {
			return fmt.Errorf("%d records for %d words", total, sent)
		}
		return nil
	})
}

// knowPlaces waits until every instance knows for each partition of the counts which of the instances has it, all of them the same.
func (r *streamsCount) knowPlaces(names ...string) {
	r.t.Helper()
	cluster.Eventually(r.t, patience, "instances know of each other", func() error {
		var last string
		for _, name := range names {
			text := r.apps[name].text()
			at := strings.LastIndex(text, "COUNTS ")
			if at < 0 {
				return fmt.Errorf("%s has said nothing", name)
			}
			said, _, _ := strings.Cut(text[at:], "\n")
			for p := range 4 {
				if n := strings.Count(strings.NewReplacer("[", " ", "]", " ", ",", " ").Replace(said), fmt.Sprintf(" %d ", p)); n < 1 {
					return fmt.Errorf("%s does not know of partition %d: %s", name, p, said)
				}
			}
			if last != "" && said != last || strings.Count(said, "=[") != len(names) {
				return fmt.Errorf("%s says %q, another %q", name, said, last)
			}
			last = said
		}
		return nil
	})
	holds("streams groups: instances know which of them has what")
}

// tool runs Kafka's own tool for streams groups.
func (r *streamsCount) tool(args ...string) string {
	r.t.Helper()
	return r.run(streamsGroupsTool, args...)
}

func (r *streamsCount) run(class string, args ...string) string {
	r.t.Helper()
	all := append(append([]string{}, javaOptions...), "-cp", jars(r.t), class, "--bootstrap-server", r.address)
	result := cluster.Command(r.t, "", "java", append(all, args...)...)
	return result.Stdout + result.Stderr
}

func (r *streamsCount) shows(name string, wanted []string, args ...string) {
	r.t.Helper()
	cluster.Eventually(r.t, patience, "the tool shows "+name, func() error {
		output := r.tool(args...)
		if missing := slices.DeleteFunc(slices.Clone(wanted), func(want string) bool { return strings.Contains(output, want) }); len(missing) > 0 {
			return fmt.Errorf("%q are not in the output:\n%s", missing, output)
		}
		return nil
	})
	holds("streams groups: the tool shows %s", name)
}

// TestStreamsProtocol runs an application of two instances whose tasks the server assigns. One is killed and comes back.
func TestStreamsProtocol(t *testing.T) {
	needGate(t)
	r := newStreamsCount(t, cluster.Serve(t).Kafka)
	r.launch("one")
	r.count("alone")
	// Each task with state is to have a copy in the other instance.
	configure := append(append([]string{}, javaOptions...), "-cp", jars(t), configsTool, "--bootstrap-server", r.address,
		"--alter", "--entity-type", "groups", "--entity-name", streamsCountGroup, "--add-config", "streams.num.standby.replicas=1")
	cluster.MustCommand(t, "", "java", configure...)
	r.launch("two")
	r.shows("two instances of two threads", []string{"Stable", " 4\n"}, "--describe", "--group", streamsCountGroup, "--state")
	r.shows("their tasks", []string{"one-StreamThread-1", "one-StreamThread-2", "two-StreamThread-1", "two-StreamThread-2", "ACTIVE: ", "STANDBY: 1:["},
		"--describe", "--group", streamsCountGroup, "--members")
	r.shows("their targets", []string{"TARGET-ACTIVE", "TARGET-STANDBY", "TOPOLOGY-EPOCH"}, "--describe", "--group", streamsCountGroup, "--members", "--verbose")
	r.count("together")
	r.knowPlaces("one", "two")
	began := time.Now()
	r.apps["two"].kill()
	r.count("without")
	holds("streams groups: tasks of a killed instance are taken over after %s", time.Since(began).Round(time.Second))
	r.launch("two")
	r.shows("a group that is whole again", []string{"Stable", " 4\n"}, "--describe", "--group", streamsCountGroup, "--state")
	r.count("again")
	r.knowPlaces("one", "two")
	r.shows("the group", []string{streamsCountGroup}, "--list")
	r.shows("its state", []string{streamsCountGroup, "Stable"}, "--list", "--state")
	r.shows("its offsets", []string{"lines", "repartition"}, "--describe", "--group", streamsCountGroup, "--offsets")
	if output := r.run(allGroupsTool, "--list"); !strings.Contains(output, "Streams") {
		t.Errorf("the list of all groups:\n%s", output)
	}
	for _, app := range r.apps {
		app.stop()
	}
	r.shows("an empty group", []string{"Empty"}, "--describe", "--group", streamsCountGroup, "--state")
	r.shows("that it deletes the group", []string{"Deletion of requested streams groups ('wordcount') was successful.",
		"Deletion of associated internal topics of the streams groups ('wordcount') was successful."}, "--delete", "--group", streamsCountGroup)
	if output := r.tool("--list"); strings.Contains(output, streamsCountGroup) {
		t.Errorf("the group is listed after it was deleted:\n%s", output)
	}
}
