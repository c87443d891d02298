//go:build linux

package workload

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/nemesis/history"
)

// Config says whom to use, and how much.
type Config struct {
	Bootstrap []string
	Classes   []string // of durability; each has a topic
	Rate      int      // records a second, of all producers
	Seed      uint64
	// Life is the mean of how long a client lives, 25 s where 0. Java's take long to start, and live longer.
	Life    time.Duration
	History *history.Writer
	// Complain takes what no history holds and should not be.
	Complain func(format string, args ...any)
	Java     *Java // nil for none
}

// Workload is a running workload.
type Workload struct {
	config  Config
	topics  []string // that are produced to at random
	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup

	values, txns atomic.Uint64
	processes    atomic.Int64
	progress     progress
	ledger       ledger
	positions    sync.Map // partition → highest offset seen, as a place to begin
}

const (
	partitions = 4
	// input is transformed into output in transactions.
	input, output = "input", "output"
)

// Start creates the topics and starts the clients. Stop ends them.
func Start(ctx context.Context, config Config) (*Workload, error) {
	w := &Workload{config: config}
	w.progress.last = map[string]int64{}
	w.ledger.acknowledged, w.ledger.read = map[string][]history.Record{}, map[string][]uint64{}
	w.topics = append(w.topics, config.Classes...)
	if err := w.create(ctx); err != nil {
		return nil, err
	}
	w.ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	w.start()
	return w, nil
}

// Class is the durability class of a topic, of those that the workload uses.
func (w *Workload) Class(topic string) string { return w.classes()[topic] }

func (w *Workload) classes() map[string]string {
	classes := map[string]string{input: w.config.Classes[0], output: w.config.Classes[len(w.config.Classes)-1]}
	for _, class := range w.config.Classes {
		classes[class] = class
	}
	return classes
}

// create makes the topics, each with its class. Nothing is ever deleted from them.
func (w *Workload) create(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(w.config.Bootstrap...))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	forever := "-1"
	for topic, class := range w.classes() {
		configs := map[string]*string{"varve.durability": &class, "retention.ms": &forever}
		for {
			answer, err := admin.CreateTopic(ctx, partitions, -1, configs, topic)
			if err == nil || strings.Contains(fmt.Sprint(answer.Err), "TOPIC_ALREADY_EXISTS") {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("create topic %s: %w", topic, err)
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
	return nil
}

func (w *Workload) start() {
	const producers, transactors = 3, 2
	share := func(percent int) int { return max(1, w.config.Rate*percent/100) }
	clientLife := cmp.Or(w.config.Life, clientLife)
	for i := range producers {
		w.lives(fmt.Sprint("producer-", i), clientLife, func(l *life) { l.produce(share(50) / producers) })
	}
	for i := range transactors {
		w.lives(fmt.Sprint("transactor-", i), clientLife, func(l *life) { l.transact(fmt.Sprint("transactor-", i), share(20)/transactors) })
		w.lives(fmt.Sprint("transformer-", i), clientLife, func(l *life) { l.transform(fmt.Sprint("transformer-", i)) })
	}
	w.lives("feeder", clientLife, func(l *life) { l.feed(share(10)) })
	for i, isolated := range []bool{true, false} {
		w.lives(fmt.Sprint("reader-", i), clientLife, func(l *life) { l.read(isolated) })
	}
	for i := range 2 {
		w.lives(fmt.Sprint("member-classic-", i), clientLife, func(l *life) { l.member("classic", false) })
		w.lives(fmt.Sprint("member-consumer-", i), clientLife, func(l *life) { l.member("consumer", true) })
	}
	w.lives("watcher", clientLife, func(l *life) { l.watch() })
	if w.config.Java != nil {
		w.startJava(share(20))
	}
}

// The mean lives of clients: those that are processes of their own take long to start.
const (
	clientLife = 25 * time.Second
	javaLife   = 60 * time.Second
)

// lives runs one client after another, each a process of its own in the history.
func (w *Workload) lives(name string, mean time.Duration, run func(*life)) {
	random := rand.New(rand.NewPCG(w.config.Seed, uint64(len(name))<<32|uint64(w.processes.Add(1))))
	w.running.Go(func() {
		for w.ctx.Err() == nil {
			length := 5*time.Second + time.Duration(random.ExpFloat64()*float64(mean))
			ctx, cancel := context.WithTimeout(w.ctx, length)
			l := &life{w: w, ctx: ctx, name: name, process: int(w.processes.Add(1)), random: random}
			run(l)
			cancel()
		}
	})
}

// Stop ends all clients: what they have begun they may finish.
func (w *Workload) Stop() {
	w.stop()
	w.running.Wait()
}

// life is one client from its start to its end.
type life struct {
	w       *Workload
	ctx     context.Context // when it ends, so does the client
	name    string
	process int
	random  *rand.Rand
	cut     cutter
}

// client makes a franz-go client of the process.
func (l *life) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(l.options(), options...)...)
}

func (l *life) options() []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(l.w.config.Bootstrap...), kgo.ClientID(l.name), kgo.Dialer(l.cut.dial),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(500),
	}
}

// ends tells whether the client is to go without a word.
func (l *life) crashes() bool { return l.random.IntN(2) == 0 }

// close ends the client: in order, or cut off from the network in the middle of what it does.
func (l *life) close(client *kgo.Client) {
	if l.crashes() {
		l.cut.cut()
	}
	client.CloseAllowingRebalance()
}

// pause waits, until the client's end at most.
func (l *life) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.ctx.Done():
	case <-timer.C:
	}
}

func (l *life) event(e history.Event) {
	e.Process, e.Note = l.process, strings.TrimSpace(l.name+" "+e.Note)
	if err := l.w.config.History.Write(&e); err != nil {
		l.w.config.Complain("%v", err)
	}
}

// partition picks one of the topics' partitions.
func (l *life) partition() (topic string, partition int32) {
	return l.w.topics[l.random.IntN(len(l.w.topics))], l.random.Int32N(partitions)
}

func place(topic string, partition int32) string { return fmt.Sprintf("%s/%d", topic, partition) }

// cutter is a network that a client can be cut off from.
type cutter struct {
	mu struct {
		sync.Mutex
		gone  bool
		conns []net.Conn
	}
}

func (c *cutter) dial(ctx context.Context, network, host string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, host)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.gone {
		return nil, fmt.Errorf("cut off: %w", conn.Close())
	}
	c.mu.conns = append(c.mu.conns, conn)
	return conn, nil
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.gone = true
	for _, conn := range c.mu.conns {
		_ = conn.Close() // it may be closed already
	}
}

// progress is when what last succeeded had begun, by what it was.
type progress struct {
	sync.Mutex
	last map[string]int64
}

func (p *progress) note(what string, invoke int64) {
	p.Lock()
	defer p.Unlock()
	p.last[what] = max(p.last[what], invoke)
}

// Mark is the present, for Behind.
func (w *Workload) Mark() int64 { return now() }

// Behind names what has not succeeded since mark: sending to and reading from each topic, transactions, and, unless they may be left out, groups: what
// a member had that died goes on when its session has ended.
func (w *Workload) Behind(mark int64, groups bool) (behind []string) {
	w.progress.Lock()
	defer w.progress.Unlock()
	wanted := []string{"transaction"}
	if groups {
		wanted = append(wanted, "transformation")
		for _, topic := range w.topics {
			for p := range int32(partitions) {
				wanted = append(wanted, "group classic in "+place(topic, p), "group consumer in "+place(topic, p))
			}
		}
	}
	if w.config.Java != nil {
		wanted = append(wanted, "java transaction")
		if groups {
			wanted = append(wanted, "java group java-classic", "java group java-consumer")
		}
	}
	for _, topic := range append([]string{input}, w.topics...) {
		wanted = append(wanted, "send "+topic)
	}
	for _, topic := range w.topics {
		wanted = append(wanted, "read "+topic)
	}
	for _, what := range wanted {
		if w.progress.last[what] < mark {
			behind = append(behind, what)
		}
	}
	return behind
}
