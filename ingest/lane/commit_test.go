package lane

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
)

// submitted is a Replica that keeps what it is given and says what it is told to.
type submitted struct {
	answer func([]*metapb.Command) error
	lanes  [][]uint32 // of the commits of each submission
}

func (s *submitted) SubscribeChunks(meta.NodeID, uint64, replica.ChunkSink) func() { return func() {} }

func (s *submitted) SubmitChunks(_ context.Context, commands []*metapb.Command) error {
	var lanes []uint32
	for _, c := range commands {
		lanes = append(lanes, c.GetCommitChunk().GetLane())
	}
	s.lanes = append(s.lanes, lanes)
	if s.answer == nil {
		return nil
	}
	return s.answer(commands)
}

func newTestCommitter(config Config, log *submitted) *committer {
	return newCommitter(&Set{config: config.withDefaults(), replica: log, observer: noObserver{}})
}

func (c *committer) addChunk(lane Lane, seq uint64, tableBytes int) *step {
	s := &step{state: stepReady, chunk: &flight{lane: lane, seq: seq, tableBytes: tableBytes}, command: &metapb.Command{
		Kind: &metapb.Command_CommitChunk{CommitChunk: &metapb.CommitChunk{Lane: uint32(lane), Seq: seq}},
	}}
	c.add(lane, s)
	return s
}

func TestNoLaneFillsEverySubmission(t *testing.T) {
	log := &submitted{}
	c := newTestCommitter(Config{}, log)
	for seq := range uint64(3 * laneCount) { // more than one submission holds, and so much is added while each is under way
		c.addChunk(Local, seq+1, maxSubmissionBytes/2)
	}
	c.addChunk(Object, 1, 1000)
	c.addChunk(Replicated, 1, 1000)
	var seen []uint32
	for range laneCount {
		c.gather()
		if err := c.submit(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen = append(seen, log.lanes[len(log.lanes)-1]...)
	}
	for _, lane := range []Lane{Object, Replicated} {
		if !slices.Contains(seen, uint32(lane)) {
			t.Errorf("in %d submissions there is nothing of lane %s: %v", laneCount, lane, log.lanes)
		}
	}
}

func TestChunksBehindAMissingOneAreSubmittedAgainWithIt(t *testing.T) {
	log := &submitted{}
	c := newTestCommitter(Config{}, log)
	c.addChunk(Local, 1, 0)
	second := c.addChunk(Local, 2, 0)
	log.answer = func(commands []*metapb.Command) error { // the verdict overtakes the answer
		if c.verdict(commands[1].GetCommitChunk(), &meta.ChunkVerdict{Code: meta.WrongSeq, Expected: 1}) {
			t.Error("the epoch ends, though the first chunk is here")
		}
		return nil
	}
	c.gather()
	if err := c.submit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second.state != stepReady {
		t.Errorf("the chunk's state is %d, it is never submitted again", second.state)
	}
}

// A log that has lost its end may lack a chunk that was answered. What came behind it was submitted without end, an entry each time.
func TestAChunkBehindOneThatTheLogHasLostIsNotSubmittedAgain(t *testing.T) {
	log := &submitted{}
	c := newTestCommitter(Config{}, log)
	second := c.addChunk(Local, 2, 0) // the first has had its verdict
	fenced := false
	log.answer = func(commands []*metapb.Command) error {
		fenced = c.verdict(commands[0].GetCommitChunk(), &meta.ChunkVerdict{Code: meta.WrongSeq, Expected: 1})
		return nil
	}
	c.gather()
	if err := c.submit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !fenced || second.state != stepLogged {
		t.Errorf("the epoch ends: %v, the chunk's state is %d", fenced, second.state)
	}
}

func TestAVerdictThatStaysAwayIsAskedForWhileOtherLanesAreBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &submitted{}
		config := Config{VerdictTimeout: 10 * time.Second}
		c := newTestCommitter(config, log)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.run(ctx) }()
		c.addChunk(Object, 1, 0)
		for seq := range uint64(7) {
			time.Sleep(config.VerdictTimeout / 4)
			c.addChunk(Local, seq+1, 0)
		}
		synctest.Wait()
		cancel()
		<-done
		times := 0
		for _, lanes := range log.lanes {
			if slices.Contains(lanes, uint32(Object)) {
				times++
			}
		}
		if times != 2 {
			t.Errorf("the chunk without a verdict was submitted %d times in twice the time after which it is asked for: %v", times, log.lanes)
		}
	})
}
