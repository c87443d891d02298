package conformance

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// gate is the variable that turns these tests on.
const gate = "VARVE_CONFORMANCE"

func TestMain(m *testing.M) {
	if os.Getenv(gate) == "" {
		os.Exit(m.Run()) // everything skips: no binary is needed
	}
	// What runs in parallel here waits most of the time, for sessions to run out.
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	os.Exit(cluster.Main(m))
}

func needGate(t *testing.T) {
	t.Helper()
	if os.Getenv(gate) == "" {
		t.Skipf("compares Varve with Apache Kafka: needs Java and Maven, runs with %s=1 (make conformance)", gate)
	}
}

// server is one of the two that are compared.
type server struct {
	name    string
	address string
	ranges  map[int16]versionRange // of API keys, as advertised
}

type versionRange struct{ min, max int16 }

func jars(t testing.TB) string {
	t.Helper()
	script := filepath.Join(cluster.Root(), "services", "conformance", "kafka.sh")
	if output, err := exec.Command(script).CombinedOutput(); err != nil {
		t.Fatalf("get Kafka: %v\n%s", err, output)
	}
	return filepath.Join(cluster.Root(), ".cache", "kafka", "libs", "*")
}

const properties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=%[3]s
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
`

// startKafka formats a directory, starts a broker that is its own controller, and returns when it answers.
func startKafka(t *testing.T) *server { return startKafkaWith(t, "") }

// startKafkaWith adds settings to the broker's, and levels of features to what the directory is formatted with.
func startKafkaWith(t *testing.T, settings string, features ...string) *server {
	t.Helper()
	dir, classes := t.TempDir(), jars(t)
	address := cluster.FreeAddress(t)
	config := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(properties, address, cluster.FreeAddress(t), filepath.Join(dir, "data")) + settings
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	format := []string{"-Xmx256m", "-cp", classes, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAA", "-c", config}
	for _, f := range features {
		format = append(format, "--feature", f)
	}
	cluster.MustCommand(t, "", "java", format...)
	logFile, err := os.Create(filepath.Join(cluster.Root(), ".cache", "kafka", "kafka.log"))
	if err != nil {
		t.Fatal(err)
	}
	broker := exec.Command("java", "-Xmx512m", "-cp", classes, "kafka.Kafka", config)
	broker.Stdout, broker.Stderr, broker.SysProcAttr = logFile, logFile, childAttributes()
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := broker.Process.Kill(); err != nil {
			t.Errorf("end Kafka: %v", err)
		}
		_ = broker.Wait() // it was killed
		if err := logFile.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &server{name: "kafka", address: address}
	cluster.Eventually(t, time.Minute, "Kafka answers", func() error { return s.learnVersions() })
	return s
}

func startVarve(t *testing.T, flags ...string) *server {
	t.Helper()
	s := &server{name: "varve", address: cluster.Serve(t, flags...).Kafka}
	cluster.Eventually(t, time.Minute, "Varve answers", func() error { return s.learnVersions() })
	// Batches are to be stored as they come, so that limits in bytes fall at the same records.
	s.configure(t, map[string]string{"group.initial.rebalance.delay.ms": "0", "varve.compress.uncompressed": "false"})
	return s
}

func (s *server) learnVersions() error {
	nc, err := dialQuietly(s.address)
	if err != nil {
		return err
	}
	defer nc.close()
	r := kmsg.NewPtrApiVersionsRequest()
	if err := nc.request(r); err != nil {
		return err
	}
	answer, err := nc.response(r)
	if err != nil {
		return err
	}
	versions, ok := answer.(*kmsg.ApiVersionsResponse)
	if !ok || versions.ErrorCode != 0 || len(versions.ApiKeys) == 0 {
		return fmt.Errorf("ApiVersions: %v", answer)
	}
	s.ranges = map[int16]versionRange{}
	for _, k := range versions.ApiKeys {
		s.ranges[k.ApiKey] = versionRange{k.MinVersion, k.MaxVersion}
	}
	return nil
}

func (s *server) configure(t testing.TB, values map[string]string) {
	t.Helper()
	w := dial(t, s.address)
	defer w.close()
	r := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType = kmsg.ConfigResourceTypeBroker
	for name, value := range values {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = name, kmsg.StringPtr(value)
		resource.Configs = append(resource.Configs, c)
	}
	r.Resources = append(r.Resources, resource)
	if err := w.request(r); err != nil {
		t.Fatal(err)
	}
	answer, err := w.response(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, resource := range answer.(*kmsg.IncrementalAlterConfigsResponse).Resources { //nolint:forcetypeassert // the answer to r
		if resource.ErrorCode != 0 {
			t.Fatalf("configure %s: %s", s.name, codeName(resource.ErrorCode))
		}
	}
}

// scenario asks one server the same as the other.
type scenario struct {
	name string
	key  int16 // whose versions it runs at
	run  func(s *session, version int16)
}

// TestConformance asks both servers the same, and compares what they answer.
func TestConformance(t *testing.T) {
	needGate(t)
	kafka, varve := startKafka(t), startVarve(t)
	report := newReport(t, filepath.Join(cluster.Root(), ".cache", "kafka", "conformance.txt"))
	only := os.Getenv("VARVE_CONFORMANCE_ONLY")
	now := time.Now().UnixMilli()
	t.Logf("seed of the random scenarios: %d (%s)", seed(t), seedVariable)
	for _, sc := range scenarios() {
		if only != "" && !slices.ContainsFunc(strings.Split(only, ","), func(name string) bool { return strings.Contains(sc.name, name) }) {
			continue
		}
		k, v := kafka.ranges[sc.key], varve.ranges[sc.key]
		if sc.key == 0 {
			k.min, v.min = 3, 3 // both name older versions of Produce, for librdkafka's sake, and refuse them
		}
		for version := max(k.min, v.min); version <= min(k.max, v.max); version++ {
			var seen [2][]*observation
			for i, server := range []*server{kafka, varve} {
				s := &session{t: t, server: server, now: now, prefix: fmt.Sprintf("%s-v%d-", sc.name, version), symbols: symbols{}}
				s.dialAgain()
				sc.run(s, version)
				s.conn.close()
				seen[i] = s.seen
			}
			report.compare(seen[0], seen[1])
		}
	}
	report.finish(only == "")
}
