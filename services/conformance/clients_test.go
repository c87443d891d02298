package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// against is the variable that has the client programs run against Apache Kafka (`kafka`) instead of Varve, to tell what a program or
// a client does by itself.
const against = "VARVE_CLIENTS_AGAINST"

// A clientProgram is one client, run by a program of the folder clients. The client's settings are its defaults, but for what a check is about.
type clientProgram struct {
	name      string
	kind      string                    // what clients/prepare.sh gets for it
	command   func(in clients) []string // what `checks BROKERS` and the like are put behind
	protocols []string                  // of groups
	lacks     []string                  // checks for which the client has nothing
	warns     []warning
	// noNullHeaders: the client writes no header without a value; it writes one of no bytes instead.
	noNullHeaders bool
}

// A warning is what a client may log with a server that does everything right: Apache Kafka causes it too.
type warning struct {
	pattern string
	reason  string
}

// clients are the folders that programs are run from.
type clients struct{ sources, cache, jars string }

// clientChecks are what every program is asked to do, in this order.
var clientChecks = []string{
	"produce-gzip", "produce-lz4", "produce-none", "produce-snappy", "produce-zstd", "consume", "consume-by-time", "consume-codecs",
	"idempotent", "transaction", "transaction-offsets", "transaction-fence",
	"admin-topics", "admin-configs", "admin-groups", "admin-offsets", "admin-delete-records",
}

// memberChecks are what groups of each protocol are put through; see members_test.go.
var memberChecks = []string{"join", "kill", "resume"}

// TestClients runs every client against Varve, and prints what became of each check.
func TestClients(t *testing.T) {
	needGate(t)
	root := cluster.Root()
	in := clients{
		sources: filepath.Join(root, "services", "conformance", "clients"), cache: filepath.Join(root, ".cache", "clients"),
		jars: filepath.Join(root, ".cache", "kafka", "libs", "*"),
	}
	m := &matrix{results: map[string]map[string]string{}}
	t.Cleanup(func() { m.print(t, filepath.Join(in.cache, "clients.txt")) })
	running := make(chan struct{}, 2) // programs that run their checks; groups mostly wait
	for _, program := range clientPrograms {
		if output, err := exec.Command(filepath.Join(in.sources, "prepare.sh"), program.kind).CombinedOutput(); err != nil {
			t.Fatalf("get what %s needs: %v\n%s", program.name, err, output)
		}
		t.Run(program.name, func(t *testing.T) {
			t.Parallel()
			r := &clientRun{t: t, clientProgram: program, in: in, matrix: m, brokers: startForClients(t)}
			r.openLog()
			r.produceGolden()
			t.Run("checks", func(t *testing.T) {
				t.Parallel()
				running <- struct{}{}
				defer func() { <-running }()
				r.runChecks(t)
			})
			for _, protocol := range program.protocols {
				t.Run(protocol, func(t *testing.T) {
					t.Parallel()
					r.runGroup(t, protocol)
				})
			}
		})
	}
}

func startForClients(t *testing.T) string {
	t.Helper()
	if os.Getenv(against) == "kafka" {
		return startKafka(t).address
	}
	return cluster.Serve(t).Kafka
}

// clientRun is one client's run.
type clientRun struct {
	clientProgram
	t       *testing.T
	in      clients
	matrix  *matrix
	brokers string
	log     *syncedFile // what the client says beside the checks
}

type syncedFile struct {
	sync.Mutex
	io.Writer
}

func (f *syncedFile) Write(b []byte) (int, error) {
	f.Lock()
	defer f.Unlock()
	return f.Writer.Write(b)
}

func (r *clientRun) openLog() {
	file, err := os.Create(filepath.Join(r.in.cache, r.name+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = &syncedFile{Writer: file}
	r.t.Cleanup(func() {
		if err := file.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

// produceGolden writes the records that programs write, in every codec, behind each other: the input of consume-codecs.
func (r *clientRun) produceGolden() {
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers), kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation())
		if err != nil {
			r.t.Fatal(err)
		}
		var records []*kgo.Record
		for _, want := range clientRecords() {
			want.Topic = "golden"
			records = append(records, want)
		}
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
		err = client.ProduceSync(ctx, records...).FirstErr()
		cancel()
		client.Close()
		if err != nil {
			r.t.Fatalf("produce: %v", err)
		}
	}
}

// firstTimestamp is that of the first of clientRecords. It has to be recent, or retention would take the records.
var firstTimestamp = time.Now().Add(-time.Hour).Truncate(time.Millisecond)

// clientCommand is a program with its arguments, in the environment that it expects.
func (r *clientRun) clientCommand(ctx context.Context, args ...string) *exec.Cmd {
	args = append(r.command(r.in), args...)
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Env = append(os.Environ(), fmt.Sprintf("FIRST_TIMESTAMP=%d", firstTimestamp.UnixMilli()))
	command.Stderr, command.SysProcAttr = r.log, childAttributes()
	return command
}

// clientRecords are the hundred records that every program writes.
func clientRecords() []*kgo.Record {
	records := make([]*kgo.Record, 100)
	for i := range records {
		r := &kgo.Record{Timestamp: firstTimestamp.Add(time.Duration(i) * time.Millisecond), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}, {Key: "null"}}}
		if i%10 != 3 {
			r.Key = fmt.Appendf(nil, "key %d", i)
		}
		if i%10 != 7 {
			r.Value = fmt.Appendf(nil, "value %d %s", i, strings.Repeat("x", 100))
		}
		records[i] = r
	}
	return records
}

// runChecks runs the program to its end and reads a line for each check.
func (r *clientRun) runChecks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	command := r.clientCommand(ctx, "checks", r.brokers)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		name, reason, _ := strings.Cut(rest, ": ")
		switch {
		case word == "version":
			r.matrix.version(r.name, rest)
		case word == "log":
			r.warned(t, rest)
		case word == "ok" && strings.HasPrefix(name, "produce-"):
			r.result(t, name, r.verify(strings.TrimPrefix(name, "produce-")))
		case word == "ok":
			r.result(t, name, nil)
		case word == "none" && slices.Contains(r.lacks, name):
			r.matrix.set(r.name, name, "-")
		case word == "none" || word == "FAIL":
			r.result(t, name, fmt.Errorf("%s", reason))
		default:
			t.Errorf("%s says %q", r.name, lines.Text())
		}
	}
	if err := command.Wait(); err != nil {
		t.Errorf("%s ended: %v", r.name, err)
	}
	for _, name := range clientChecks {
		if !r.matrix.has(r.name, name) {
			r.result(t, name, fmt.Errorf("the program did not come to it"))
		}
	}
}

// result notes what became of a check.
func (r *clientRun) result(t *testing.T, name string, err error) {
	if err != nil {
		r.matrix.set(r.name, name, "FAIL")
		fmt.Printf("FAIL      %s %s: %v\n", r.name, name, err)
		t.Errorf("%s: %v", name, err)
		return
	}
	r.matrix.set(r.name, name, "ok")
	fmt.Printf("ok        %s %s\n", r.name, name)
}

// warned judges a warning or an error that the client logged.
func (r *clientRun) warned(t *testing.T, line string) {
	for _, w := range r.warns {
		if regexp.MustCompile(w.pattern).MatchString(line) {
			fmt.Printf("expected  %s warns: %.200s: %s\n", r.name, line, w.reason)
			return
		}
	}
	fmt.Printf("WARNS     %s: %s\n", r.name, line)
	r.matrix.set(r.name, "no warnings", "FAIL")
	t.Errorf("%s warns: %s", r.name, line)
}

// verify reads what a program produced, with another client, and compares all that Kafka keeps of a record.
func (r *clientRun) verify(topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	want := clientRecords()
	for got := 0; got < len(want); {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read what was produced: %d of %d records: %w", got, len(want), err)
		}
		for _, record := range fetches.Records() {
			if got == len(want) {
				return fmt.Errorf("more than %d records were produced", got)
			}
			if r.noNullHeaders {
				want[got].Headers[1].Value = []byte{}
			}
			if g, w := content(record), content(want[got]); g != w || record.Offset != int64(got) {
				return fmt.Errorf("at offset %d: produced %s, want %s", record.Offset, g, w)
			}
			got++
		}
	}
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if end, _ := ends.Lookup(topic, 0); err != nil || end.Offset != int64(len(want)) {
		return fmt.Errorf("the log ends at %d, want %d (%v)", end.Offset, len(want), err)
	}
	return nil
}

// content writes a record so that two are the same exactly if what a producer gave them is: nil and empty differ.
func content(r *kgo.Record) string {
	bytes := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return fmt.Sprintf("%q", b)
	}
	text := fmt.Sprintf("t=%d key=%s value=%s", r.Timestamp.UnixMilli(), bytes(r.Key), bytes(r.Value))
	for _, h := range r.Headers {
		text += fmt.Sprintf(" %s=%s", h.Key, bytes(h.Value))
	}
	return text
}

// matrix is what became of every check with every client.
type matrix struct {
	sync.Mutex
	results  map[string]map[string]string
	versions []string
}

func (m *matrix) version(client, version string) {
	m.Lock()
	defer m.Unlock()
	m.versions = append(m.versions, fmt.Sprintf("%-24s %s", client, version))
}

func (m *matrix) set(client, check, result string) {
	m.Lock()
	defer m.Unlock()
	if m.results[client] == nil {
		m.results[client] = map[string]string{"no warnings": "ok"}
	}
	m.results[client][check] = result
}

func (m *matrix) has(client, check string) bool {
	m.Lock()
	defer m.Unlock()
	_, there := m.results[client][check]
	return there
}

// print prints a column for each client, and keeps a copy in a file.
func (m *matrix) print(t *testing.T, path string) {
	m.Lock()
	defer m.Unlock()
	checks := slices.Clone(clientChecks)
	for _, protocol := range []string{"classic", "consumer"} {
		for _, check := range memberChecks {
			checks = append(checks, protocol+"-"+check)
		}
	}
	checks = append(checks, "no warnings")
	names := slices.Sorted(maps.Keys(m.results))
	var text strings.Builder
	fmt.Fprintf(&text, "\n%-22s", "check")
	for _, name := range names {
		fmt.Fprintf(&text, " %*s", max(4, len(name)), name)
	}
	for _, check := range checks {
		fmt.Fprintf(&text, "\n%-22s", check)
		for _, name := range names {
			result := m.results[name][check]
			if result == "" {
				result = "-"
			}
			fmt.Fprintf(&text, " %*s", max(4, len(name)), result)
		}
	}
	slices.Sort(m.versions)
	fmt.Fprintf(&text, "\n(-: the client has none)\n\n%s\n", strings.Join(m.versions, "\n"))
	fmt.Print(text.String())
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Error(err)
	}
}
