package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// valuesOf reads a topic to its end at an isolation level and returns the values in it, sorted, without transaction markers.
func valuesOf(t *testing.T, n *cluster.Node, topic string, level kgo.IsolationLevel) (values []string) {
	t.Helper()
	for _, records := range readAll(t, n, topic, kgo.FetchIsolationLevel(level), kgo.KeepControlRecords()) {
		for _, r := range records {
			if !r.Attrs.IsControl() {
				values = append(values, string(r.Value))
			}
		}
	}
	slices.Sort(values)
	return values
}

func expectValues(t *testing.T, what string, got, want []string) {
	t.Helper()
	want = slices.Sorted(slices.Values(want))
	if slices.Equal(got, want) {
		return
	}
	var lacks, extra []string
	for _, v := range want {
		if _, ok := slices.BinarySearch(got, v); !ok {
			lacks = append(lacks, v)
		}
	}
	for _, v := range got {
		if _, ok := slices.BinarySearch(want, v); !ok {
			extra = append(extra, v)
		}
	}
	t.Fatalf("%s: %d values, want %d; missing %.300q, too many %.300q", what, len(got), len(want), lacks, extra)
}

// transaction produces count records of a name within a transaction, and ends it.
func transaction(t *testing.T, producer *kgo.Client, topic, name string, count int, end kgo.TransactionEndTry) (values []string) {
	t.Helper()
	if err := producer.BeginTransaction(); err != nil {
		t.Fatalf("begin %s: %v", name, err)
	}
	records := numbered(topic, name, 0, count)
	produce(t, producer, records...)
	if err := producer.EndTransaction(within(t, patience), end); err != nil {
		t.Fatalf("end %s: %v", name, err)
	}
	for _, r := range records {
		values = append(values, string(r.Value))
	}
	return values
}

// Nothing of an aborted transaction is returned, wherever its records are: on the node's disk, after a crash, in the bucket.
func TestAbortedRecordsAreNeverReturned(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"local", "object"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			n := cluster.New(t, "serve", "--seal-age=1h")
			n.Start()
			const partitions = 3
			createTopic(t, n, "tx", partitions, "varve.durability", class)
			producer, plain := dial(t, n, kgo.TransactionalID("tx-"+class)), dial(t, n)
			var committed, all []string
			write := func(from, to int) {
				for i := from; i < to; i++ {
					name := fmt.Sprintf("%s%d", []string{"commit", "abort"}[i%2], i)
					values := transaction(t, producer, "tx", name, 20, kgo.TransactionEndTry(i%2 == 0))
					all = append(all, values...)
					if i%2 == 0 {
						committed = append(committed, values...)
					}
					r := &kgo.Record{Topic: "tx", Value: fmt.Appendf(nil, "plain%d", i)}
					produce(t, plain, r)
					all, committed = append(all, string(r.Value)), append(committed, string(r.Value))
				}
			}
			check := func(what string) {
				t.Helper()
				expectValues(t, what+", read_committed", valuesOf(t, n, "tx", kgo.ReadCommitted()), committed)
				expectValues(t, what+", read_uncommitted", valuesOf(t, n, "tx", kgo.ReadUncommitted()), all)
			}
			write(0, 10)
			check("hot")
			n.Kill()
			n.Start()
			check("after a crash")
			write(10, 14)
			n.Stop()
			n.SetFlags(quickTiering...)
			n.Start()
			write(14, 20)
			awaitShipped(t, n, "tx", partitions)
			check("shipped")
			n.Kill()
			n.Start()
			check("shipped, after a crash")
		})
	}
}

// The last stable offset stays before an open transaction; a new incarnation of its producer, or time, ends it.
func TestOpenTransactionsHoldReadersUntilTheyAreEnded(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "held", 1)
	plain := dial(t, n)
	old := dial(t, n, kgo.TransactionalID("zombie"), kgo.TransactionTimeout(time.Minute))
	produce(t, plain, &kgo.Record{Topic: "held", Value: []byte("before")})
	if err := old.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, old, &kgo.Record{Topic: "held", Value: []byte("open")})
	produce(t, plain, &kgo.Record{Topic: "held", Value: []byte("behind")})

	reader := dial(t, n, kgo.ConsumeTopics("held"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(30*time.Second))
	read := func(want string) {
		t.Helper()
		got := collect(t, reader, 1)
		if len(got) != 1 || string(got[0].Value) != want {
			t.Fatalf("read %d records %q, want %q", len(got), got[0].Value, want)
		}
	}
	read("before")
	quiet, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if fetches := reader.PollFetches(quiet); fetches.NumRecords() > 0 {
		t.Fatalf("read %q behind an open transaction", fetches.Records()[0].Value)
	}

	// What is fenced ends, and the reader, which waits for half a minute, is woken by it.
	fresh := dial(t, n, kgo.TransactionalID("zombie"))
	started := time.Now()
	transaction(t, fresh, "held", "fresh", 1, kgo.TryCommit)
	read("behind")
	read("fresh-0")
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("the reader was woken after %v", took)
	}
	err := tryProduce(t, old, &kgo.Record{Topic: "held", Value: []byte("late")})
	if err == nil {
		err = old.EndTransaction(within(t, patience), kgo.TryCommit)
	}
	if err == nil {
		t.Error("a fenced producer went on")
	}

	// A transaction whose time is over is aborted by the leader.
	slow := dial(t, n, kgo.TransactionalID("slow"), kgo.TransactionTimeout(time.Second))
	if err := slow.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, slow, &kgo.Record{Topic: "held", Value: []byte("too slow")})
	produce(t, plain, &kgo.Record{Topic: "held", Value: []byte("last")})
	read("last")
	awaitShipped(t, n, "held", 1)
	expectValues(t, "all", valuesOf(t, n, "held", kgo.ReadCommitted()), []string{"before", "behind", "fresh-0", "last"})
}

// Consume, transform, produce, with the node killed over and over: every input has exactly one output.
func TestExactlyOnceThroughCrashes(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, "--seal-age=1h") // shipped batches are large, and the work done at once
	createTopic(t, n, "input", 3)
	createTopic(t, n, "output", 3)
	const count = 20_000
	produce(t, dial(t, n, kgo.ProducerBatchMaxBytes(2<<10)), numbered("input", "in", 0, count)...)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	open := func() (*kgo.GroupTransactSession, error) {
		return kgo.NewGroupTransactSession(
			kgo.SeedBrokers(n.Kafka), kgo.TransactionalID("etl"), kgo.ConsumerGroup("etl"), kgo.ConsumeTopics("input"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(4<<10), kgo.FetchMaxBytes(8<<10),
			kgo.TransactionTimeout(20*time.Second), kgo.SessionTimeout(10*time.Second), kgo.MetadataMinAge(50*time.Millisecond),
			kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		)
	}
	var moved atomic.Int64
	go func() { done <- transform(ctx, open, count, &moved) }()
	for range 3 {
		await(t, &moved, 50)
		n.Kill()
		n.Start()
	}
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(2 * patience):
		t.Fatal("the transformation does not come to its end")
	}
	var want []string
	for i := range count {
		want = append(want, fmt.Sprintf("out of in-%d", i))
	}
	expectValues(t, "output", valuesOf(t, n, "output", kgo.ReadCommitted()), want)
}

// transform moves records from input to output until so many have been committed. A session that fails for good is followed by another,
// as a process would be.
func transform(ctx context.Context, open func() (*kgo.GroupTransactSession, error), count int64, moved *atomic.Int64) error {
	for ctx.Err() == nil && moved.Load() < count {
		session, err := open()
		if err != nil {
			return err
		}
		for err == nil && moved.Load() < count {
			var some int64
			some, err = transformSome(ctx, session)
			moved.Add(some)
		}
		session.Close()
		if err != nil && !errors.Is(err, errStartAgain) {
			return err
		}
	}
	return ctx.Err()
}

var errStartAgain = errors.New("the session has failed")

func transformSome(ctx context.Context, session *kgo.GroupTransactSession) (committed int64, err error) {
	poll, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	fetches := session.PollFetches(poll)
	if fetches.NumRecords() == 0 {
		return 0, ctx.Err()
	}
	if err := session.Begin(); err != nil {
		return 0, fmt.Errorf("%w: begin: %w", errStartAgain, err)
	}
	var failed kgo.FirstErrPromise
	fetches.EachRecord(func(r *kgo.Record) {
		session.Produce(ctx, &kgo.Record{Topic: "output", Key: r.Key, Value: append([]byte("out of "), r.Value...)}, failed.Promise())
		committed++
	})
	ok, err := session.End(ctx, failed.Err() == nil)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: end: %w", errStartAgain, err)
	case !ok:
		return 0, nil
	}
	return committed, nil
}

func TestPythonTransactions(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "python-in", 2)
	createTopic(t, n, "python-out", 2)
	want := "committed: 500 aborted: 500 fenced: True\nread_committed: 500 only committed: True\nread_uncommitted: 1000\nmoved: 500\n"
	if got := python(t, "transactions.py", n.Kafka, "python-in", "python-out"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// An end whose answer is lost is repeated, and counts once, whatever the moment at which the node dies.
func TestCommitsAreSettledThroughCrashes(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "settled-tx", 2)
	w := txWriter{client: dial(t, n, kgo.TransactionalID("settled"), kgo.TransactionTimeout(time.Minute)), topic: "settled-tx"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	for range 6 {
		await(t, &w.committed, 5)
		n.Kill()
		n.Start()
	}
	await(t, &w.committed, 5)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := valuesOf(t, n, "settled-tx", kgo.ReadCommitted())
	for _, prefix := range w.unsure {
		before := len(got)
		got = slices.DeleteFunc(got, func(v string) bool { return strings.HasPrefix(v, prefix) })
		if whole := before - len(got); whole != 0 && whole != txRecords {
			t.Errorf("%d records of transaction %s", whole, prefix)
		}
	}
	expectValues(t, "committed", got, w.values)
}

// txRecords is how many records a transaction of txWriter has.
const txRecords = 5

// await returns when a counter has grown by so much.
func await(t *testing.T, counter *atomic.Int64, more int64) {
	t.Helper()
	target := counter.Load() + more
	cluster.Eventually(t, patience, "progress", func() error {
		if got := counter.Load(); got < target {
			return fmt.Errorf("%d of %d", got, target)
		}
		return nil
	})
}

// txWriter commits and aborts transactions of a few records in turn.
type txWriter struct {
	client    *kgo.Client
	topic     string
	committed atomic.Int64
	values    []string // of the committed ones; valid when run has returned
	unsure    []string // prefixes of those that may be committed
}

func (w *txWriter) run(ctx context.Context) error {
	whole := context.WithoutCancel(ctx) // what was begun is brought to its end
	for i := 0; ctx.Err() == nil; i++ {
		if err := w.client.BeginTransaction(); err != nil {
			return fmt.Errorf("begin %d: %w", i, err)
		}
		records := numbered(w.topic, fmt.Sprintf("t%d", i), 0, txRecords)
		produced := w.client.ProduceSync(whole, records...).FirstErr()
		commit := kgo.TransactionEndTry(i%3 != 0 && produced == nil)
		if err := w.client.EndTransaction(whole, commit); err != nil {
			// The client gives up an answer it waits for; its way on is an abort, which ends nothing where the commit had come to pass.
			if abortErr := w.client.EndTransaction(whole, kgo.TryAbort); abortErr != nil {
				return fmt.Errorf("end %d: %w: %w", i, err, abortErr)
			}
			if commit {
				w.unsure = append(w.unsure, fmt.Sprintf("t%d-", i))
			}
			continue
		}
		if commit {
			for _, r := range records {
				w.values = append(w.values, string(r.Value))
			}
			w.committed.Add(1)
		}
	}
	return nil
}

// java runs a program of testdata with Apache Kafka's client to its end, and returns what it printed.
func java(t *testing.T, program string, args ...string) string {
	t.Helper()
	arguments := []string{"-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", kafkaLibs(t), filepath.Join("testdata", program)}
	return cluster.MustCommand(t, "", "java", append(arguments, args...)...)
}

func TestJavaTransactions(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t, quickTiering...)
	createTopic(t, n, "java-in", 2)
	createTopic(t, n, "java-out", 2)
	want := "ongoing: Ongoing\nlisted: 1\nfenced: true\nread_committed: 500 only committed: true\noffsets: true\nread_uncommitted: 1000\nmoved: 500\n"
	if got := java(t, "Transactions.java", n.Kafka, "java-in", "java-out"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
