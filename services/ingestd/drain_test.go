package ingestd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/ingest/chunk"
	"github.com/varvelog/varve/ingest/hotlog"
)

// drained is a node that is to leave, with a second one beside it and a topic t.
type drained struct {
	*testing.T
	Leaving
	told  *bytes.Buffer
	other sender
	seqs  map[sender]uint64
}

// sender is a lane of a node.
type sender struct {
	node  meta.NodeID
	epoch uint64
	lane  uint32
}

func newDrained(t *testing.T) *drained {
	r := newRegistrar(t)
	r.Replica.SetSubmitter(&loyalLeader{replica: r.Replica})
	if _, err := r.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := &drained{T: t, told: new(bytes.Buffer), seqs: map[sender]uint64{}}
	d.Leaving = Leaving{Log: slog.New(slog.NewTextHandler(d.told, nil)), Registrar: r, Replica: r.Replica}
	v := d.propose(&metapb.Command{Kind: &metapb.Command_RegisterNode{RegisterNode: &metapb.RegisterNode{DiskId: []byte("the second disk."), Incarnation: []byte{1}}}})
	d.other = sender{node: v.NodeID, epoch: v.NodeEpoch, lane: 2}
	d.propose(&metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: &metapb.CreateTopic{
		Name: "t", TopicId: topicT[:], Partitions: 1, Configs: []*metapb.ConfigEntry{{Name: "varve.durability", Value: "local"}},
	}}})
	return d
}

var topicT = [16]byte{'t'}

func (d *drained) own(of uint32) sender {
	registration := d.Registrar.Registration()
	return sender{registration.Node, registration.Epoch, of}
}

func (d *drained) propose(c *metapb.Command) meta.Verdict {
	d.Helper()
	v, err := d.Replica.Propose(d.Context(), c)
	if err != nil || v.Code != meta.OK {
		d.Fatalf("%v: %v %s %s", c, err, v.Code, v.Message)
	}
	return v
}

// append writes a chunk of a lane, or a copy of one, to the node's hot log.
func (d *drained) append(of sender) (hotlog.Place, *metapb.CommitChunk) {
	d.Helper()
	var b chunk.Builder
	b.Add(chunk.Batch{Topic: topicT, ProducerID: -1, MaxTimestamp: -1, Records: 1, Data: make([]byte, 100)})
	d.seqs[of]++
	sealed := b.Seal(chunk.Header{NodeID: int32(of.node), NodeEpoch: of.epoch, Lane: of.lane, Seq: d.seqs[of]})
	places, err := d.Registrar.HotLog.Append(nil, hotlog.NewChunk(append([][]byte{sealed.Head}, sealed.Body...)...))
	if err != nil {
		d.Fatal(err)
	}
	return places[0], &metapb.CommitChunk{
		NodeId: int32(of.node), NodeEpoch: of.epoch, Lane: of.lane, Seq: d.seqs[of], ChunkBytes: uint64(sealed.Header.ChunkBytes()),
		RunTable: slices.Clone(sealed.Table.Bytes()),
	}
}

func (d *drained) local() *metapb.CommitChunk {
	place, c := d.append(d.own(0))
	c.Durability, c.Segment, c.Position = metapb.Durability_DURABILITY_LOCAL, place.Segment, place.Position
	return c
}

// copied is a chunk of the node's that the other has a copy of.
func (d *drained) copied() *metapb.CommitChunk {
	place, c := d.append(d.own(2))
	c.Durability, c.Segment, c.Position = metapb.Durability_DURABILITY_REPLICATED, place.Segment, place.Position
	c.Copy = &metapb.ChunkCopy{NodeId: int32(d.other.node), NodeEpoch: d.other.epoch, Segment: 1, Position: place.Position}
	return c
}

// copyOf is a chunk of the other node's that the node has a copy of. The other's segment stays open.
func (d *drained) copyOf() *metapb.CommitChunk {
	place, c := d.append(d.other)
	c.Durability, c.Segment, c.Position = metapb.Durability_DURABILITY_REPLICATED, 1, place.Position
	own := d.own(0)
	c.Copy = &metapb.ChunkCopy{NodeId: int32(own.node), NodeEpoch: own.epoch, Segment: place.Segment, Position: place.Position}
	return c
}

func (d *drained) commit(chunks ...*metapb.CommitChunk) {
	d.Helper()
	for _, c := range chunks {
		before := d.highWatermark()
		if err := d.Replica.SubmitChunks(d.Context(), []*metapb.Command{{Kind: &metapb.Command_CommitChunk{CommitChunk: c}}}); err != nil {
			d.Fatal(err)
		}
		if d.highWatermark() == before {
			d.Fatalf("chunk %v is not committed", c)
		}
	}
}

func (d *drained) highWatermark() (offset int64) {
	d.Replica.View(func(s *meta.State) { offset = s.Partition(meta.TopicPartition{Topic: topicT}).HighWatermark() })
	return offset
}

// ship does one job, as a worker does, and returns the offsets that it took.
func (d *drained) ship() (offsets []int64) {
	d.Helper()
	job := d.propose(&metapb.Command{Kind: &metapb.Command_LeaseJob{LeaseJob: &metapb.LeaseJob{Worker: "w", LeaseMillis: 60_000}}}).JobID
	object := &metapb.SegmentObject{JobId: uint64(job), SizeBytes: 1}
	d.Replica.View(func(s *meta.State) {
		for _, runs := range s.JobContainers(job) {
			for _, run := range runs {
				object.Parts = append(object.Parts, &metapb.Part{
					TopicId: topicT[:], BaseOffset: run.BaseOffset, NextOffset: run.BaseOffset + 1, Length: 1, Records: 1, MaxTimestamp: -1,
				})
				offsets = append(offsets, run.BaseOffset)
			}
		}
	})
	d.propose(&metapb.Command{Kind: &metapb.Command_FinishJob{FinishJob: &metapb.FinishJob{JobId: uint64(job), Objects: []*metapb.SegmentObject{object}}}})
	slices.Sort(offsets)
	return offsets
}

// leave has the node leave; what is left comes when it has.
func (d *drained) leave(patience time.Duration) <-chan Rest {
	d.Helper()
	if err := d.Registrar.Leave(d.Context()); err != nil {
		d.Fatal(err)
	}
	left := make(chan Rest, 1)
	ctx, cancel := context.WithTimeout(d.Context(), patience)
	go func() {
		defer cancel()
		left <- d.empty(ctx)
	}()
	synctest.Wait()
	return left
}

// Whoever scales in throws the disk away, and another node may lose its own a moment later.
func TestADrainLeavesNothingInOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrained(t)
		d.commit(d.copied(), d.copyOf(), d.local(), d.copied())
		left := d.leave(time.Minute)
		for _, want := range [][]int64{{2}, {0, 1, 3}} { // what it alone has goes first
			if len(left) > 0 {
				t.Fatalf("it does not wait for %v", want)
			}
			if got := d.ship(); !slices.Equal(got, want) {
				t.Errorf("a job ships %v, want %v", got, want)
			}
			synctest.Wait()
		}
		if len(left) == 0 {
			t.Fatal("everything is shipped, and it waits")
		}
		if rest := <-left; !rest.None() {
			t.Errorf("there is left %+v", rest)
		}
	})
}

func TestADrainIsBoundedAndSaysWhatIsLeft(t *testing.T) {
	const alone, copied = "its disk must return", "without its disk one copy is left"
	for _, test := range []struct {
		name      string
		chunk     func(d *drained) *metapb.CommitChunk
		say, hush string
	}{
		{"local", (*drained).local, alone, copied},
		{"copied", (*drained).copied, copied + " of these records\" node=1 disk=DISK took=5s on_nodes=[2]", alone},
		{"a copy", (*drained).copyOf, copied + " of these records\" node=1 disk=DISK took=5s on_nodes=[2]", alone},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDrained(t)
				d.commit(test.chunk(d))
				rest := <-d.leave(5 * time.Second)
				if rest.None() || rest.Unsealed != nil || rest.Alone.Segments+rest.Copied.Segments != 1 {
					t.Errorf("there is left %+v", rest)
				}
				d.tell(rest, 5*time.Second)
				disk := d.Registrar.HotLog.DiskUUID()
				if told := strings.ReplaceAll(d.told.String(), disk.String(), "DISK"); !strings.Contains(told, test.say) || strings.Contains(told, test.hush) {
					t.Errorf("it says %q", told)
				}
			})
		})
	}
}

// A command on its way may name a segment that the state has not heard of yet.
func TestNothingIsCommittedToADiskThatHasDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrained(t)
		late := []*metapb.CommitChunk{d.local(), d.copyOf()}
		if rest := <-d.leave(time.Minute); !rest.None() {
			t.Fatalf("there is left %+v", rest)
		}
		for _, c := range late {
			if err := d.Replica.SubmitChunks(t.Context(), []*metapb.Command{{Kind: &metapb.Command_CommitChunk{CommitChunk: c}}}); err != nil {
				t.Fatal(err)
			}
		}
		if offset := d.highWatermark(); offset != 0 {
			t.Errorf("the high watermark is %d: a chunk was committed after the node had said that its disk is not needed", offset)
		}
	})
}

func TestADrainThatNobodyHearsOfClaimsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDrained(t)
		d.local()
		d.Replica.SetSubmitter(lostLeader{})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		rest := d.empty(ctx)
		if rest.None() || !errors.Is(rest.Unsealed, replica.ErrAmbiguous) {
			t.Errorf("there is left %+v", rest)
		}
		if d.tell(rest, 5*time.Second); !strings.Contains(d.told.String(), "it must return") {
			t.Errorf("it says %q", d.told)
		}
	})
}
