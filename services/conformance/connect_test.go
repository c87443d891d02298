package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/services/e2e/cluster"
)

const (
	distributedWorker = "org.apache.kafka.connect.cli.ConnectDistributed"

	connectSteps     = 30
	connectStepLines = 50
)

// connectWarnings are what Connect says whatever the server is.
var connectWarnings = []complaint{
	{`WARN .*DistributedHerder - .*Catching up to assignment's config offset.*`, "a worker has a new assignment before it has read what was configured"},
	{`WARN .*WorkerCoordinator - .*Close timed out with N pending requests.*`, "a worker that ends does not wait for the answer that it has left the group"},
}

// fileConnectors is the path of the plug-in with FileStreamSource and FileStreamSink.
func fileConnectors(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(jars(t)), "connect-file-*.jar"))
	if err != nil || len(found) != 1 {
		t.Fatalf("connect-file: %q %v", found, err)
	}
	return found[0]
}

// worker is a Connect worker with its REST listener.
type worker struct {
	*javaProcess
	rest string
}

// workers are those of one Connect cluster.
type workers struct {
	t    *testing.T
	all  []*worker
	http *http.Client
}

func (w *workers) start(address string, count int) {
	w.t.Helper()
	libs, dir := jars(w.t), w.t.TempDir()
	for i := range count {
		rest := cluster.FreeAddress(w.t)
		name := fmt.Sprintf("worker-%d", i)
		// Replication factors stay what they are by default, 3.
		file := writeProperties(w.t, filepath.Join(dir, name+".properties"), map[string]string{
			"bootstrap.servers": address, "group.id": "connect-pair", "client.id": name, "listeners": "http://" + rest,
			"plugin.path": fileConnectors(w.t), "plugin.discovery": "service_load",
			"key.converter": "org.apache.kafka.connect.storage.StringConverter", "value.converter": "org.apache.kafka.connect.storage.StringConverter",
			"config.storage.topic": "connect-configs", "offset.storage.topic": "connect-offsets", "status.storage.topic": "connect-status",
			"exactly.once.source.support": "enabled", "offset.flush.interval.ms": "1000", "scheduled.rebalance.max.delay.ms": "1000",
			"session.timeout.ms": "6000", "heartbeat.interval.ms": "1000",
			"consumer.session.timeout.ms": "6000", "consumer.heartbeat.interval.ms": "1000", "consumer.isolation.level": "read_committed",
		})
		w.all = append(w.all, &worker{newJava(w.t, name, libs, distributedWorker, file), rest})
		w.all[i].start()
	}
	for _, one := range w.all {
		cluster.Eventually(w.t, patience, one.name+" answers", func() error { return w.ask(one, http.MethodGet, "/connectors", nil, &[]string{}) })
	}
}

// ask sends a request to a worker's REST listener.
func (w *workers) ask(one *worker, method, path string, body, answer any) error {
	var text bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&text).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+one.rest+path, &text)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := w.http.Do(request)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, content)
	}
	return json.Unmarshal(content, answer)
}

type connectorStatus struct {
	Connector struct {
		State    string `json:"state"`
		WorkerID string `json:"worker_id"`
	} `json:"connector"`
	Tasks []struct {
		State    string `json:"state"`
		WorkerID string `json:"worker_id"`
		Trace    string `json:"trace"`
	} `json:"tasks"`
}

// alive is a worker that runs.
func (w *workers) alive() *worker {
	w.t.Helper()
	at := slices.IndexFunc(w.all, func(one *worker) bool { return one.running() })
	if at < 0 {
		w.t.Fatal("no worker runs")
	}
	return w.all[at]
}

// awaitRunning returns the worker that runs the one task of a connector.
func (w *workers) awaitRunning(connector string) (owner *worker) {
	w.t.Helper()
	cluster.Eventually(w.t, patience, connector+" runs", func() error {
		var status connectorStatus
		if err := w.ask(w.alive(), http.MethodGet, "/connectors/"+connector+"/status", nil, &status); err != nil {
			return err
		}
		if len(status.Tasks) > 0 && status.Tasks[0].State == "FAILED" {
			w.t.Fatalf("%s has failed: %s", connector, status.Tasks[0].Trace)
		}
		if status.Connector.State != "RUNNING" || len(status.Tasks) != 1 || status.Tasks[0].State != "RUNNING" {
			return fmt.Errorf("%+v", status)
		}
		at := slices.IndexFunc(w.all, func(one *worker) bool { return one.rest == status.Tasks[0].WorkerID })
		if at < 0 || !w.all[at].running() {
			return fmt.Errorf("the task is at %s", status.Tasks[0].WorkerID)
		}
		owner = w.all[at]
		return nil
	})
	return owner
}

func (w *workers) create(name string, config map[string]string) {
	w.t.Helper()
	body := map[string]any{"name": name, "config": config}
	cluster.Eventually(w.t, patience, "create "+name, func() error {
		err := w.ask(w.all[0], http.MethodPost, "/connectors", body, &struct{}{})
		if err != nil && strings.Contains(err.Error(), "409") {
			return err // a rebalance is under way: the documented answer, to be tried again
		}
		if err != nil {
			w.t.Fatalf("create %s: %v", name, err)
		}
		return nil
	})
}

// connectLine is a line that can be found again even where a writer was killed within one.
func connectLine(source string, n int) string { return fmt.Sprintf("<%s%06d>", source, n) }

var connectLines = regexp.MustCompile(`<[ab]\d{6}>`)

// sinkLines are the lines that a sink has written, and those among them that it had written before.
func sinkLines(t testing.TB, file string) (fresh []string, repeated int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, line := range connectLines.FindAllString(string(text), -1) {
		if seen[line] {
			repeated++
			continue
		}
		seen[line] = true
		fresh = append(fresh, line)
	}
	return fresh, repeated
}

// TestConnectDistributed copies two files through two topics with a pair of workers that are killed in turn.
func TestConnectDistributed(t *testing.T) {
	needGate(t)
	node := cluster.Serve(t)
	w := &workers{t: t, http: &http.Client{Timeout: 30 * time.Second}}
	w.start(node.Kafka, 2)
	dir := t.TempDir()
	in := func(source string) string { return filepath.Join(dir, source+".txt") }
	out := func(source string) string { return filepath.Join(dir, source+".sink.txt") }
	sources := []string{"a", "b"}
	for _, source := range sources {
		if err := os.WriteFile(in(source), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w.create("source-"+source, map[string]string{
			"connector.class": "FileStreamSource", "tasks.max": "1", "file": in(source), "topic": "files-" + source, "exactly.once.support": "required",
		})
		w.create("sink-"+source, map[string]string{"connector.class": "FileStreamSink", "tasks.max": "1", "file": out(source), "topics": "files-" + source})
	}
	for _, source := range sources {
		w.awaitRunning("source-" + source)
	}
	written := 0
	awaitSinks := func(lines int) {
		for _, source := range sources {
			cluster.Eventually(t, patience, fmt.Sprintf("%d lines of %s are copied", lines, source), func() error {
				if fresh, _ := sinkLines(t, out(source)); len(fresh) < lines {
					return fmt.Errorf("%d are", len(fresh))
				}
				return nil
			})
		}
	}
	kill := func(connector string) {
		victim := w.awaitRunning(connector)
		victim.kill()
		t.Logf("killed %s, where the task of %s was", victim.name, connector)
		victim.start()
	}
	for step := range connectSteps {
		awaitSinks((step - 2) * connectStepLines)
		for _, source := range sources {
			var text strings.Builder
			for i := range connectStepLines {
				text.WriteString(connectLine(source, written+i) + "\n")
			}
			file, err := os.OpenFile(in(source), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.WriteString(text.String())
			if err = errors.Join(err, file.Close()); err != nil {
				t.Fatal(err)
			}
		}
		written += connectStepLines
		switch step {
		case 9:
			awaitSinks(written - connectStepLines)
			for _, source := range sources {
				if _, repeated := sinkLines(t, out(source)); repeated > 0 {
					t.Errorf("the sink of %s wrote %d lines again, and nothing was killed", source, repeated)
				}
			}
			kill("source-a")
		case 19:
			kill("sink-b")
		case 24:
			kill("source-b")
		}
	}
	awaitSinks(written)
	for _, one := range w.all {
		one.stop()
	}
	topics := readCommitted(t, node.Kafka, "files-a", "files-b")
	for _, source := range sources {
		records := topics["files-"+source]
		fresh, repeated := sinkLines(t, out(source))
		if len(records) != written || len(fresh) != written {
			t.Errorf("of %d lines of %s there are %d in the topic and %d in the sink's file", written, source, len(records), len(fresh))
			continue
		}
		for n := range written {
			if want := connectLine(source, n); string(records[n].Value) != want || fresh[n] != want {
				t.Fatalf("line %d of %s is %q in the topic and %q in the sink's file", n, source, records[n].Value, fresh[n])
			}
		}
		holds("connect, workers killed: %s: %d lines once and in order in the topic, all in the sink's file, %d of them again after a kill", source, written, repeated)
	}
	for _, one := range w.all {
		checkLog(t, one.javaProcess, nil, slices.Concat(usualWarnings, connectWarnings)...)
	}
}
