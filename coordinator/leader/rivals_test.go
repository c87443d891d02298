package leader

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metalog"
	"github.com/varvelog/varve/coordinator/metalog/mem"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// TestRivalsNeverBothSequence lets coordinators take over from each other while requests and answers are lost and requests
// arrive late, and clients propose to each of them all the time. Whatever any of them answered must be what the log
// says.
func TestRivalsNeverBothSequence(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			backing := mem.New()
			random := rand.New(rand.NewPCG(seed, 1))
			fates := []mem.Fate{mem.RequestLost, mem.AnswerLost, mem.Late, mem.Delivered, mem.Delivered, mem.Delivered, mem.Delivered}
			backing.SetFate(func(uint64, metalog.Kind) mem.Fate { return fates[random.IntN(len(fates))] })

			answered := newAnswers()
			ctx, stop := context.WithCancel(timeout(t))
			var clients sync.WaitGroup
			var rivals []*node
			for round := range 4 {
				n := start(t, backing.Open(), nil)
				rivals = append(rivals, n)
				for client := range 3 {
					clients.Go(func() { answered.propose(ctx, n, fmt.Sprintf("%04d%04d", round, client)) })
				}
				want := answered.count() + 15
				await(t, func() bool { backing.Deliver(); return answered.count() >= want })
			}
			stop()
			clients.Wait()
			backing.SetFate(nil)
			for _, n := range rivals { // what the last one has under way must not come between two reads of the log
				n.stop()
				n.ended <- <-n.ended
			}
			backing.Deliver()
			answered.check(t, backing)
		})
	}
}

// answers are what clients were told: the producer id of each command.
type answers struct {
	sync.Mutex
	byCommand map[string]int64
}

func newAnswers() *answers { return &answers{byCommand: map[string]int64{}} }

func (a *answers) count() int {
	a.Lock()
	defer a.Unlock()
	return len(a.byCommand)
}

// propose proposes to one coordinator until ctx ends or it does not lead any more.
func (a *answers) propose(ctx context.Context, n *node, client string) {
	for i := 0; ctx.Err() == nil; i++ {
		if _, leading := n.Leading(); !leading {
			return
		}
		c := allocate()
		c.Id = fmt.Appendf(nil, "%s%08d", client, i)
		id := string(c.Id)
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		v, err := n.replica.Propose(short, c)
		cancel()
		if err == nil && v.Code == meta.OK {
			a.Lock()
			a.byCommand[id] = v.ProducerID
			a.Unlock()
		}
	}
}

// check replays the log and compares.
func (a *answers) check(t *testing.T, backing *mem.Backing) {
	t.Helper()
	replay := &replayed{byCommand: map[string]int64{}}
	state := meta.New(logID)
	log := backing.Open()
	var starts int
	for record, err := range log.Read(context.Background(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		entry, err := meta.DecodeEntry(record.Entry)
		if err != nil {
			t.Fatal(err)
		}
		if entry.Commands[0].GetLeaderStart() != nil {
			starts++
		}
		if err := state.Apply(record.Seq, entry, replay); err != nil {
			t.Fatal(err)
		}
	}
	if starts < 4 || len(a.byCommand) < 60 {
		t.Fatalf("%d reigns and %d answers are too few to show anything", starts, len(a.byCommand))
	}
	for id, told := range a.byCommand {
		if logged, ok := replay.byCommand[id]; !ok || logged != told {
			t.Errorf("a client was told producer id %d for %s, the log says %d, %v", told, id, logged, ok)
		}
	}
	r, err := replica.Open(context.Background(), replica.Config{LogID: logID, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.View(func(s *meta.State) {
		if s.Hash() != state.Hash() {
			t.Error("a replica differs from the replay")
		}
	})
}

// replayed observes which commands the log applies, and how often.
type replayed struct{ byCommand map[string]int64 }

func (r *replayed) Wants([]byte) bool { return true }
func (r *replayed) Verdict(id []byte, v meta.Verdict) {
	if v.Code == meta.OK {
		r.byCommand[string(id)] = v.ProducerID
	}
}
func (r *replayed) WantsChunks(meta.NodeID, uint64) bool                 { return false }
func (r *replayed) ChunkVerdict(*metapb.CommitChunk, *meta.ChunkVerdict) {}
func (r *replayed) Committed(meta.TopicPartition, int64)                 {}
func (r *replayed) Changed(meta.ChangeKind)                              {}
