package kafka

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
)

// newHeld is a topic, a client with a transactional id, and a connection of its to another node, from before that one was away.
func newHeld(t *testing.T) (c *cluster, topic meta.TopicID, x *transactor, held *rawClient) {
	c = newCluster(t)
	_, addr := start(t, c, Config{})
	topic = c.createTopic(t, "topic", 1)
	cutOff, other := start(t, c, Config{})
	x = newTransactor(t, dial(t, addr), "x", topic)
	held = dial(t, other)
	held.request(heartbeat())
	cutOff.domain.Contact = contactOf(time.Now())
	return c, topic, x, held
}

// A commit of a transaction that stood in a connection while its client went to another node, committed there and began the next transaction, must not be
// taken: before KIP-890 both have one epoch, and the half of the next that is written would be committed, whatever its producer decides.
func TestAnEndOfATransactionFromBeforeTheNodeWasAwayIsNotTaken(t *testing.T) {
	c, id, x, held := newHeld(t)
	expectCode(t, "add", x.addPartition(3, "topic"), nil)
	expectCode(t, "produce", x.produce(9), nil)
	late := kmsg.NewPtrEndTxnRequest()
	late.Version, late.TransactionalID, late.ProducerID, late.ProducerEpoch, late.Commit = 4, x.id, x.producerID, x.epoch, true
	expectCode(t, "commit, again, since no answer comes from the other node", x.end(4, true), nil)
	expectCode(t, "add to the next", x.addPartition(3, "topic"), nil)
	expectCode(t, "produce in the next", x.produce(9), nil)
	held.send(late)
	if _, err := io.ReadAll(held.nc); err != nil && !errors.Is(err, io.EOF) {
		t.Errorf("a connection of before: %v", err)
	}
	c.View(func(s *meta.State) {
		if stable := s.Partition(meta.TopicPartition{Topic: id}).LastStableOffset(); stable != 2 {
			t.Errorf("the next transaction began at offset 2 and has not ended, and the last stable offset is %d", stable)
		}
	})
	expectCode(t, "abort the next", x.end(4, false), nil)
	c.View(func(s *meta.State) {
		if p := s.Partition(meta.TopicPartition{Topic: id}); len(p.AbortedTransactions(nil, 0, p.NextOffset())) != 1 {
			t.Error("what was aborted is shown")
		}
	})
}

// What begins a transaction must not come late either: it would begin one that nobody ends, and whose timeout fences its producer.
func TestWhatBeginsATransactionFromBeforeTheNodeWasAwayIsNotTaken(t *testing.T) {
	for _, row := range []struct {
		name string
		late func(x *transactor) kmsg.Request
	}{
		{"partitions", func(x *transactor) kmsg.Request {
			r := kmsg.NewPtrAddPartitionsToTxnRequest()
			r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch = 3, x.id, x.producerID, x.epoch
			r.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "topic", Partitions: []int32{0}}}
			return r
		}},
		{"offsets", func(x *transactor) kmsg.Request {
			r := kmsg.NewPtrAddOffsetsToTxnRequest()
			r.Version, r.TransactionalID, r.ProducerID, r.ProducerEpoch, r.Group = 3, x.id, x.producerID, x.epoch, "g"
			return r
		}},
		{"another producer", func(x *transactor) kmsg.Request {
			r := kmsg.NewPtrInitProducerIDRequest()
			r.Version, r.TransactionalID, r.TransactionTimeoutMillis = 4, &x.id, 60_000
			return r
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _, x, held := newHeld(t)
			expectCode(t, "add", x.addPartition(3, "topic"), nil)
			expectCode(t, "commit", x.end(4, true), nil)
			held.send(row.late(x))
			if _, err := io.ReadAll(held.nc); err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("a connection of before: %v", err)
			}
			c.View(func(s *meta.State) {
				if known, _ := s.Transaction("x"); known.State != meta.TransactionCommitted || known.ProducerEpoch != x.epoch {
					t.Errorf("%v in epoch %d, behind a commit in epoch %d", known.State, known.ProducerEpoch, x.epoch)
				}
			})
		})
	}
}

// proposing is Metadata that takes commands alone.
type proposing struct {
	Metadata
	propose func(ctx context.Context, command *metapb.Command) (meta.Verdict, error)
}

func (p proposing) Propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
	return p.propose(ctx, command)
}

// A command about a transaction that waits for contact to the leader is ended while no client can have been elsewhere, and made again under another name.
func TestAnEndOfATransactionIsSentAgainWhereContactIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, attempts := time.Now(), 0
		log := proposing{propose: func(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
			attempts++
			if len(command.Id) > 0 {
				t.Errorf("attempt %d has the id %x", attempts, command.Id)
			}
			command.Id = []byte{byte(attempts)}
			if !sleep(ctx, 4*time.Second) {
				if took := time.Since(began); took > commitAttempt {
					t.Errorf("the first attempt ended after %v", took)
				}
				return meta.Verdict{}, ctx.Err()
			}
			return meta.Verdict{ProducerID: 7}, nil
		}}
		contact := lossy{began.Add(time.Second), began.Add(4500 * time.Millisecond)}
		request := &call{conn: &conn{server: &Server{domain: Domain{Metadata: log, Contact: contact}}, since: began}}
		ctx, cancel := context.WithTimeout(t.Context(), transactionTimeout)
		defer cancel()
		verdict, failed := request.proposeTransaction(ctx, &metapb.Command{})
		if failed != nil || verdict.ProducerID != 7 || attempts != 2 {
			t.Errorf("%+v, %v after %d attempts", verdict, failed, attempts)
		}
	})
}
