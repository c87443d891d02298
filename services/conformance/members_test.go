package conformance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// memberPartitions is how many partitions the members share: two members have three each.
const memberPartitions = 6

// memberPatience covers the longest default session of a client, 45 s, in which nobody notices that a member is dead.
const memberPatience = 2 * time.Minute

// A groupMember is a process that is a member of a group: it commits what it has read before it reads on, and says a line for each
// thing that becomes of it.
//
//	assigned 0,1,2       all that it has now
//	record 1 17          it read offset 17 of partition 1
//	committed 1 18       the broker has taken this offset
//	uncommitted reason   the broker has not taken what was read last
//	lost 0,1             it was thrown out
//	closed               it has left the group
type groupMember struct {
	name    string
	command *exec.Cmd
	input   io.WriteCloser
	ended   chan struct{}
	mu      struct {
		sync.Mutex
		assigned  []int
		read      []place
		committed map[int]int64
		strange   []string // lines that are none of the above
		last      []string
		closed    bool
		code      error
	}
}

type place struct {
	partition int
	offset    int64
}

// startMember starts a member of a group; it is ended with the test.
func (r *clientRun) startMember(t *testing.T, name, group, topic, protocol string) *groupMember {
	t.Helper()
	m := &groupMember{name: name, command: r.clientCommand(context.Background(), "member", r.brokers, group, topic, protocol), ended: make(chan struct{})}
	m.mu.committed = map[int]int64{}
	output, err := m.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if m.input, err = m.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := m.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(m.ended)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if warning, ok := strings.CutPrefix(lines.Text(), "log "); ok {
				r.warned(t, warning)
			} else {
				m.heard(lines.Text())
			}
		}
		err := m.command.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.mu.code = err
	}()
	t.Cleanup(func() {
		_ = m.command.Process.Kill() // it may have ended
		<-m.ended
	})
	return m
}

// heard takes in one line that a member said.
func (m *groupMember) heard(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.last = append(m.mu.last[max(0, len(m.mu.last)-5):], line)
	word, rest, _ := strings.Cut(line, " ")
	numbers, wellFormed := integers(rest)
	switch {
	case word == "assigned" && wellFormed:
		m.mu.assigned = nil
		for _, n := range numbers {
			m.mu.assigned = append(m.mu.assigned, int(n))
		}
	case word == "record" && wellFormed && len(numbers) == 2:
		m.mu.read = append(m.mu.read, place{int(numbers[0]), numbers[1]})
	case word == "committed" && wellFormed && len(numbers) == 2:
		m.mu.committed[int(numbers[0])] = numbers[1]
	case word == "closed":
		m.mu.closed = true
	case word == "uncommitted":
	default:
		m.mu.strange = append(m.mu.strange, line)
	}
}

func integers(text string) (numbers []int64, ok bool) {
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, false
		}
		numbers = append(numbers, n)
	}
	return numbers, true
}

// view is what a member has said so far.
type view struct {
	assigned  []int
	read      []place
	committed map[int]int64
}

func (m *groupMember) now() view {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := view{assigned: slices.Clone(m.mu.assigned), read: slices.Clone(m.mu.read), committed: map[int]int64{}}
	for p, offset := range m.mu.committed {
		v.committed[p] = offset
	}
	return v
}

// groupRun is one group of one client: what was produced for it and who is in it.
type groupRun struct {
	*clientRun
	t            *testing.T
	group, topic string
	protocol     string
	client       *kgo.Client
	produced     int64 // in each partition
	members      []*groupMember
}

// runGroup puts a group through its life: a member joins, one is killed, one leaves and another goes on where it was.
func (r *clientRun) runGroup(t *testing.T, protocol string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(r.brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := "members-" + protocol
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, memberPartitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	g := &groupRun{clientRun: r, t: t, group: "group-" + protocol, topic: topic, protocol: protocol, client: client}
	for _, stage := range []struct {
		name string
		run  func() error
	}{{"join", g.join}, {"kill", g.kill}, {"resume", g.resume}} {
		err := stage.run()
		if err == nil {
			err = g.strange()
		}
		r.result(t, protocol+"-"+stage.name, err)
		if err != nil {
			return
		}
	}
}

// produce writes as many records into every partition.
func (g *groupRun) produce(count int) error {
	ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
	defer cancel()
	var records []*kgo.Record
	for i := range count {
		for p := range memberPartitions {
			records = append(records, &kgo.Record{Topic: g.topic, Partition: int32(p), Value: fmt.Appendf(nil, "%d %d", p, i)})
		}
	}
	g.produced += int64(count)
	return g.client.ProduceSync(ctx, records...).FirstErr()
}

func (g *groupRun) start(name string) *groupMember {
	m := g.startMember(g.t, name, g.group, g.topic, g.protocol)
	g.members = append(g.members, m)
	return m
}

// await waits until a condition holds, or a member ends that should not.
func (g *groupRun) await(what string, condition func() bool) error {
	deadline := time.NewTimer(memberPatience)
	defer deadline.Stop()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		if condition() {
			return nil
		}
		select {
		case <-poll.C:
			continue
		case <-deadline.C:
		case <-g.t.Context().Done():
		}
		var said strings.Builder
		for _, m := range g.members {
			v := m.now()
			m.mu.Lock()
			fmt.Fprintf(&said, "\n%s: assigned %v, read %d records, committed %v; said last %q, ended %v", m.name, v.assigned, len(v.read), v.committed, m.mu.last, m.mu.code)
			m.mu.Unlock()
		}
		return fmt.Errorf("waited for: %s%s", what, said.String())
	}
}

// caughtUp tells whether some members together have read and committed every record.
func (g *groupRun) caughtUp(members ...*groupMember) bool {
	for p := range memberPartitions {
		if !slices.ContainsFunc(members, func(m *groupMember) bool { return m.now().committed[p] == g.produced }) {
			return false
		}
	}
	return true
}

// once fails if a record was read twice or none was read of one that is there.
func (g *groupRun) once() error {
	seen := map[place]int{}
	for _, m := range g.members {
		for _, at := range m.now().read {
			if seen[at]++; seen[at] > 1 {
				return fmt.Errorf("%s read offset %d of partition %d, which had been read and committed", m.name, at.offset, at.partition)
			}
		}
	}
	return g.none(seen)
}

// none fails if a record is missing.
func (g *groupRun) none(seen map[place]int) error {
	for p := range memberPartitions {
		for offset := range g.produced {
			if seen[place{p, offset}] == 0 {
				return fmt.Errorf("nobody read offset %d of partition %d", offset, p)
			}
		}
	}
	return nil
}

func (g *groupRun) join() error {
	if err := g.produce(100); err != nil {
		return err
	}
	a := g.start("the first")
	if err := g.await("the first member to have everything", func() bool { return len(a.now().assigned) == memberPartitions && g.caughtUp(a) }); err != nil {
		return err
	}
	b := g.start("the second")
	half := func(m *groupMember) bool { return len(m.now().assigned) == memberPartitions/2 }
	if err := g.await("two members to have a half each", func() bool { return half(a) && half(b) }); err != nil {
		return err
	}
	if err := g.produce(100); err != nil {
		return err
	}
	if err := g.await("two members to have read everything", func() bool { return g.caughtUp(a, b) }); err != nil {
		return err
	}
	mine, others := a.now().assigned, b.now().assigned
	if both := slices.Sorted(slices.Values(append(mine, others...))); !slices.Equal(both, []int{0, 1, 2, 3, 4, 5}) {
		return fmt.Errorf("the members have %v and %v", a.now().assigned, others)
	}
	for _, at := range b.now().read {
		if !slices.Contains(others, at.partition) {
			return fmt.Errorf("the second member read partition %d of the first", at.partition)
		}
	}
	return g.once()
}

// kill ends the second member while it reads; the first has to go on where the second committed last.
func (g *groupRun) kill() error {
	a, b := g.members[0], g.members[1]
	before := g.produced
	for range 20 { // batches, so that the member is somewhere in the middle
		if err := g.produce(25); err != nil {
			return err
		}
		if slices.ContainsFunc(b.now().read, func(at place) bool { return at.offset >= before }) {
			break
		}
	}
	if err := b.command.Process.Kill(); err != nil {
		return err
	}
	<-b.ended
	dead := b.now()
	had := len(a.now().read)
	if err := g.produce(50); err != nil {
		return err
	}
	if err := g.await("the first member to have everything again", func() bool { return len(a.now().assigned) == memberPartitions && g.caughtUp(a) }); err != nil {
		return err
	}
	seen, first := map[place]int{}, map[int]int64{}
	for _, at := range dead.read {
		seen[at]++
	}
	for i, at := range a.now().read {
		if _, known := first[at.partition]; !known && i >= had && slices.Contains(dead.assigned, at.partition) {
			first[at.partition] = at.offset
		}
		seen[at]++
		if again := seen[at] > 1 && (!slices.Contains(dead.assigned, at.partition) || at.offset < dead.committed[at.partition]); again {
			return fmt.Errorf("offset %d of partition %d was read again, though it had been committed", at.offset, at.partition)
		}
	}
	for _, p := range dead.assigned {
		last := int64(-1)
		for _, at := range dead.read {
			if at.partition == p {
				last = at.offset
			}
		}
		if first[p] < dead.committed[p] || first[p] > last+1 {
			return fmt.Errorf("partition %d went on at %d; the dead member had committed %d and read up to %d", p, first[p], dead.committed[p], last)
		}
	}
	return g.none(seen)
}

// resume has the last member leave, and a new one go on where it was.
func (g *groupRun) resume() error {
	a := g.members[0]
	if err := a.input.Close(); err != nil {
		return err
	}
	if err := g.await("the first member to leave", func() bool {
		select {
		case <-a.ended:
			return true
		default:
			return false
		}
	}); err != nil {
		return err
	}
	a.mu.Lock()
	closed, code := a.mu.closed, a.mu.code
	a.mu.Unlock()
	if !closed || code != nil {
		return fmt.Errorf("the first member did not leave as it should: %v", code)
	}
	from := g.produced
	if err := g.produce(10); err != nil {
		return err
	}
	c := g.start("the third")
	if err := g.await("the third member to have read what is new", func() bool { return g.caughtUp(c) }); err != nil {
		return err
	}
	for _, at := range c.now().read {
		if at.offset < from {
			return fmt.Errorf("the third member read offset %d of partition %d again", at.offset, at.partition)
		}
	}
	if want := int(g.produced-from) * memberPartitions; len(c.now().read) != want {
		return fmt.Errorf("the third member read %d records, want %d", len(c.now().read), want)
	}
	return c.input.Close()
}

// strange fails if a member said what it should not.
func (g *groupRun) strange() error {
	for _, m := range g.members {
		m.mu.Lock()
		lines := slices.Clone(m.mu.strange)
		m.mu.Unlock()
		if len(lines) > 0 {
			return fmt.Errorf("%s says %q", m.name, lines)
		}
	}
	return nil
}
