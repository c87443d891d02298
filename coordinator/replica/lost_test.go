package replica

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	memstore "github.com/varvelog/varve/infra/objstore/mem"
	"github.com/varvelog/varve/ingest/chunk"
)

// commitChunk commits a chunk of node 1 in its first epoch, with one record for partition 0 of topic.
func commitChunk(topic meta.TopicID, seq uint64) *metapb.Command {
	var b chunk.Builder
	b.Add(chunk.Batch{Topic: topic, Records: 1, Data: make([]byte, 100), ProducerID: -1})
	sealed := b.Seal(chunk.Header{NodeID: 1, NodeEpoch: 1, Seq: seq})
	return &metapb.Command{Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{
		NodeId: 1, NodeEpoch: 1, Seq: seq, Durability: metapb.Durability_DURABILITY_LOCAL, Segment: 1, Position: uint32(seq) * 1000,
		ChunkBytes: uint64(sealed.Header.ChunkBytes()), RunTable: slices.Clone(sealed.Table.Bytes()),
	}}}
}

// verdicts counts those on chunks.
type verdicts int

func (v *verdicts) ChunkVerdict(*metapb.CommitChunk, *meta.ChunkVerdict) { *v++ }

// A server that did not sync loses the end of the log, and a leader that starts goes on from what is left. A follower put the shorter state in the place of its
// own and served on: high watermarks that it had told of went back.
func TestALogThatHasLostItsTailEndsWhoHasAppliedIt(t *testing.T) {
	for name, hinted := range map[string]bool{"as hints": true, "from the log": false} {
		t.Run(name, func(t *testing.T) {
			backing, store := mem.New(), memstore.New("bucket-x")
			w, topic := newWriter(t, backing.Open()), meta.TopicPartition{Topic: meta.TopicID{'t'}}
			w.append(createTopic("t"))
			w.append(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{
				DiskId: make([]byte, 16), Incarnation: make([]byte, 16), KafkaHost: "h", KafkaPort: 1, InternalAddress: "h:2",
			}}})
			r := openReplica(t, Config{Log: backing.Open(), Store: store, PollInterval: time.Hour})
			var judged verdicts
			defer r.SubscribeChunks(1, 1, &judged)()
			b := newFakeBus()
			ended := follow(t, r, b)
			hint := <-b.handle
			left, hash := w.seq, w.hash
			for seq := range uint64(2) {
				if hinted {
					publish(w, hint, commitChunk(topic.Topic, seq+1))
					continue
				}
				w.append(commitChunk(topic.Topic, seq+1))
				if err := r.WaitSeq(timeout(t), w.seq); err != nil {
					t.Fatal(err)
				}
			}
			applied, told := w.seq, hashOf(r)
			if r.Seq() != applied || judged != 2 {
				t.Fatalf("at %d of %d, with %d verdicts", r.Seq(), applied, judged)
			}
			backing.Cut(left + 1)
			w.seq, w.hash = left, hash
			w.takeOver()
			for seq := range uint64(3) {
				publish(w, hint, commitChunk(topic.Topic, seq+3)) // what the node submits next
			}
			select {
			case err := <-ended:
				if !errors.Is(err, ErrLogLost) || !errors.Is(err, ErrForked) || !Final(err) {
					t.Errorf("the follower has ended: %v", err)
				}
				for _, part := range []string{"lost entries that were acknowledged", "`varve recover --hotlog`", "bucket-x"} {
					if err == nil || !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
						t.Errorf("%q does not name %q in one line", err, part)
					}
				}
			case <-timeout(t).Done():
				t.Fatal("the follower goes on")
			}
			if r.Seq() != applied || hashOf(r) != told || judged != 2 {
				t.Errorf("the state has moved from %d to %d; %d verdicts", applied, r.Seq(), judged)
			}
		})
	}
}
