package meta

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/coordinator/metapb"
)

// transactionLine knows the words about transactions.
func (p *player) transactionLine(word string, args []string) (string, bool) {
	switch word {
	case "init": // init ID TIMEOUT [PRODUCER EPOCH]
		c := &metapb.InitTransactionalProducer{TransactionalId: args[0], TimeoutMillis: int32(number(args[1])), ExpectedProducerId: -1, ExpectedProducerEpoch: -1}
		if len(args) > 2 {
			c.ExpectedProducerId, c.ExpectedProducerEpoch = number(args[2]), int32(number(args[3]))
		}
		return describeProducer(p.do(c)), true
	case "add": // add ID PRODUCER EPOCH TOPIC-PARTITION|group=NAME...
		c := &metapb.AddToTransaction{TransactionalId: args[0], ProducerId: number(args[1]), ProducerEpoch: int32(number(args[2]))}
		for _, a := range args[3:] {
			if g, ok := strings.CutPrefix(a, "group="); ok {
				c.Groups = append(c.Groups, g)
				continue
			}
			tp := partition(a)
			c.Topics = append(c.Topics, &metapb.TransactionTopic{TopicId: tp.Topic[:], Partitions: []int32{tp.Partition}})
		}
		return describe(p.do(c)), true
	case "send": // send ID PRODUCER EPOCH GROUP [joins] TOPIC-PARTITION=OFFSET...
		c := &metapb.CommitTransactionOffsets{TransactionalId: args[0], ProducerId: number(args[1]), ProducerEpoch: int32(number(args[2])), Group: args[3]}
		for _, a := range args[4:] {
			if a == "joins" {
				c.Joins = true
				continue
			}
			name, offset, _ := strings.Cut(a, "=")
			tp := partition(name)
			c.Offsets = append(c.Offsets, &metapb.CommittedOffset{TopicId: tp.Topic[:], Partition: tp.Partition, Offset: number(offset), CommitMillis: p.now})
		}
		v := p.do(c)
		return fmt.Sprint(describe(v), " ", v.Codes), true
	case "end": // end ID PRODUCER EPOCH commit|abort [bump|force]
		c := &metapb.EndTransaction{TransactionalId: args[0], ProducerId: number(args[1]), ProducerEpoch: int32(number(args[2])), Commit: args[3] == "commit"}
		c.BumpsEpoch, c.Fences = slices.Contains(args, "bump"), slices.Contains(args, "force")
		return describeProducer(p.do(c)), true
	case "stable": // stable TOPIC-PARTITION
		return fmt.Sprint(p.s.Partition(partition(args[0])).LastStableOffset()), true
	case "aborted": // aborted TOPIC-PARTITION FROM TO
		var lines []string
		for _, t := range p.s.Partition(partition(args[0])).AbortedTransactions(nil, number(args[1]), number(args[2])) {
			lines = append(lines, fmt.Sprintf("producer %d [%d, %d]", t.ProducerID, t.FirstOffset, t.LastOffset))
		}
		return strings.Join(lines, "\n"), true
	case "offset": // offset GROUP TOPIC-PARTITION
		g := p.s.Group(args[0])
		if g == nil {
			return "no group", true
		}
		o, ok := g.Offset(partition(args[1]))
		return fmt.Sprintf("%d %v pending %v", o.Offset, ok, g.Pending(partition(args[1]))), true
	case "transactions":
		var out strings.Builder
		p.s.Transactions(func(t Transaction) bool {
			fmt.Fprintf(&out, "%s %s producer %d epoch %d\n", t.ID, t.State, t.ProducerID, t.ProducerEpoch)
			return true
		})
		return out.String(), true
	}
	return "", false
}

func describeProducer(v Verdict) string {
	if v.Code != OK {
		return describe(v)
	}
	return fmt.Sprintf("ok producer %d epoch %d", v.ProducerID, v.ProducerEpoch)
}

// transactionInvariants checks what partitions and transactions say of each other.
func (s *State) transactionInvariants() error {
	open := map[*Partition]int{}
	for id, t := range s.transactions {
		if t.id != id || s.transactionOf[t.producerID] != t {
			return fmt.Errorf("transactional id %q is not where it should be", id)
		}
		if t.state != TransactionOngoing && len(t.partitions)+len(t.groups) > 0 {
			return fmt.Errorf("transactional id %q holds partitions in state %s", id, t.state)
		}
		for p, first := range t.partitions {
			if s.partitions[p.slot] != p {
				return fmt.Errorf("transactional id %q holds a partition that is no more", id)
			}
			if since, ok := p.OpenSince(t.producerID); ok != (first >= 0) || ok && since != first {
				return fmt.Errorf("transactional id %q is open since %d in %s-%d, which says %d", id, first, p.topic.Name, p.index, since)
			}
			if first >= 0 {
				open[p]++
			}
		}
	}
	if len(s.transactionOf) != len(s.transactions) {
		return fmt.Errorf("%d transactional ids, %d producers", len(s.transactions), len(s.transactionOf))
	}
	for _, p := range s.partitions {
		if p == nil {
			continue
		}
		if len(p.open) != open[p] || !slices.IsSortedFunc(p.open, func(x, y openTransaction) int { return int(x.first - y.first) }) {
			return fmt.Errorf("%s-%d: open %+v, counted %d", p.topic.Name, p.index, p.open, open[p])
		}
		for i, t := range p.aborted {
			if t.LastOffset < p.logStart || i > 0 && t.LastOffset <= p.aborted[i-1].LastOffset {
				return fmt.Errorf("%s-%d: aborted %+v", p.topic.Name, p.index, p.aborted)
			}
		}
		for i := range p.parts {
			if p.parts[i].next > p.LastStableOffset() {
				return fmt.Errorf("%s-%d: a part ends at %d, above the last stable offset %d", p.topic.Name, p.index, p.parts[i].next, p.LastStableOffset())
			}
		}
	}
	for name, g := range s.groups {
		for producerID, offsets := range g.pending {
			t := s.transactionOf[producerID]
			if len(offsets) == 0 || t == nil {
				return fmt.Errorf("group %q has %d pending offsets of producer %d", name, len(offsets), producerID)
			}
			if _, ok := t.groups[name]; !ok {
				return fmt.Errorf("group %q is not in the transaction of %q", name, t.id)
			}
		}
	}
	return nil
}

// BenchmarkEndTransaction: the markers of 100 partitions are one command.
func BenchmarkEndTransaction(b *testing.B) {
	for _, partitions := range []int32{1, 100} {
		b.Run(fmt.Sprint(partitions, "partitions"), func(b *testing.B) {
			l := newTestLog(b)
			l.lead(1)
			l.topic("t", partitions)
			id := topicID("t")
			v := l.do(&metapb.InitTransactionalProducer{TransactionalId: "x", TimeoutMillis: 1000, ExpectedProducerId: -1})
			topic := &metapb.TransactionTopic{TopicId: id[:]}
			for i := range partitions {
				topic.Partitions = append(topic.Partitions, i)
			}
			for b.Loop() {
				b.StopTimer()
				l.entries = nil
				l.do(&metapb.AddToTransaction{TransactionalId: "x", ProducerId: v.ProducerID, Topics: []*metapb.TransactionTopic{topic}})
				b.StartTimer()
				l.do(&metapb.EndTransaction{TransactionalId: "x", ProducerId: v.ProducerID, Commit: true})
			}
		})
	}
}
