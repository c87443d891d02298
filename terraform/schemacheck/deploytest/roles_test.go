//go:build deploy

package deploytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// records is how many a round trip takes.
const records = 2000

// TestRolesServe starts what the user data configured, with a directory for a
// bucket, and sends records through it: at rest, and while the coordinator that
// leads is killed.
func TestRolesServe(t *testing.T) {
	binary := os.Getenv("VARVE_BIN")
	if binary == "" {
		t.Skip("VARVE_BIN names no varve binary: the roles were not started")
	}
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Fatalf("the round trip needs kcat: %v", err)
	}
	bucket := "VARVE_BUCKET_URL=file://" + t.TempDir()
	boot := func(at instance) *role {
		s := newSandbox(t, at, binary)
		if out, err := s.bootstrap(t.Context(), bucket); err != nil {
			t.Fatalf("bootstrap %s: %v\n%s", at.name, err, out)
		}
		return start(t, &role{name: at.name, address: at.address, dir: s.root, argv: s.command(t, "varve")})
	}
	// A new metadata log begins when all coordinators are there.
	var group []*role
	for _, at := range coordinators {
		group = append(group, boot(at))
	}
	for _, r := range group {
		r.waitReady(t)
	}
	for _, at := range []instance{ingestA, ingestB, tiering} {
		boot(at).waitReady(t)
	}
	serve(t, binary, ingestA.address+":9092,"+ingestB.address+":9092", group)
}

// serve sends records through a cluster whose ingest nodes are in two zones, at rest and while the coordinator that leads is killed.
func serve(t *testing.T, binary, brokers string, group []*role) {
	t.Helper()
	for _, broker := range strings.Split(brokers, ",") {
		if out := kcat(t, "", "-b", brokers, "-L"); !strings.Contains(out, " at "+broker) {
			t.Errorf("no broker is advertised at %s:\n%s", broker, out)
		}
	}
	// Two nodes in two zones are what this class needs: each was told its own.
	topic(t, binary, brokers, "replicated", "varve.durability=replicated")
	roundTrip(t, brokers, "replicated")
	topic(t, binary, brokers, "object", "varve.durability=object")
	roundTrip(t, brokers, "object")
	killLeader(t, brokers, "replicated-while-killed", binary, group)
}

func topic(t *testing.T, binary, brokers, name, config string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, "topic", "create", name, "--brokers", brokers, "--partitions", "4", "--config", config).CombinedOutput()
	if err != nil {
		t.Fatalf("create topic %s: %v\n%s", name, err, out)
	}
}

func roundTrip(t *testing.T, brokers, topic string) {
	t.Helper()
	var sent []string
	for i := range records {
		sent = append(sent, record(i))
	}
	kcat(t, strings.Join(sent, "\n")+"\n", "-b", brokers, "-t", topic, "-P", "-K", ":")
	compare(t, sent, consume(t, brokers, topic))
}

// killLeader kills the coordinator that leads while records are sent, one by one, and expects another to lead, every record to be
// there in its order, and the one that was killed to join in again, as systemd would have it.
func killLeader(t *testing.T, brokers, name, binary string, group []*role) {
	t.Helper()
	topic(t, binary, brokers, name, "varve.durability=replicated")
	former := leading(t, group, nil)
	send, input := io.Pipe()
	var output bytes.Buffer
	producer := exec.CommandContext(t.Context(), "kcat", "-b", brokers, "-t", name, "-P", "-K", ":")
	producer.Stdin, producer.Stderr = send, &output
	if err := producer.Start(); err != nil {
		t.Fatal(err)
	}
	var sent []string
	produce := func(count int) {
		for range count {
			sent = append(sent, record(len(sent)))
			if _, err := io.WriteString(input, sent[len(sent)-1]+"\n"); err != nil {
				t.Fatalf("send to kcat: %v", err)
			}
		}
	}
	produce(records / 2)
	former.kill(t)
	killed := time.Now()
	produce(records / 2)
	successor := leading(t, group, former)
	t.Logf("%s was killed, and %s leads %v later", former.name, successor.name, time.Since(killed).Round(time.Millisecond))
	produce(records / 2)
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := producer.Wait(); err != nil {
		t.Fatalf("produce while the leader is killed: %v\n%s", err, output.String())
	}
	t.Logf("the last of %d records was acknowledged %v after the kill", len(sent), time.Since(killed).Round(time.Millisecond))
	compare(t, sent, consume(t, brokers, name))
	former.run(t)
	former.waitReady(t)
	roundTrip(t, brokers, "replicated-afterwards")
}

// leading waits until one of the group, which is not former, says that it leads.
func leading(t *testing.T, group []*role, former *role) *role {
	t.Helper()
	var found *role
	eventually(t, "a coordinator leads", func() bool {
		for _, r := range group {
			if r != former && strings.Contains(get(t.Context(), "http://"+r.address+":8080/metrics"), "\nvarve_coordinator_leading 1\n") {
				found = r
			}
		}
		return found != nil
	})
	return found
}

// record is the i-th record of a test, as kcat takes it.
func record(i int) string { return fmt.Sprintf("key-%d:value-%d", i%97, i) }

func consume(t *testing.T, brokers, topic string) []string {
	t.Helper()
	out := kcat(t, "", "-b", brokers, "-t", topic, "-C", "-K", ":", "-o", "beginning", "-e", "-q")
	return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
}

// compare expects the same records. A key's records are in one partition, so their order has to survive; between keys there is none.
func compare(t *testing.T, sent, got []string) {
	t.Helper()
	if !maps.EqualFunc(byKey(sent), byKey(got), slices.Equal[[]string]) {
		t.Errorf("sent %d records and read %d, which are not the same in the same order by key", len(sent), len(got))
	}
}

func byKey(records []string) map[string][]string {
	values := map[string][]string{}
	for _, r := range records {
		key, value, _ := strings.Cut(r, ":")
		values[key] = append(values[key], value)
	}
	return values
}

func kcat(t *testing.T, input string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat %v: %v\n%s", args, err, errors.String())
	}
	return out.String()
}
