package kafka

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/ingest/lane"
	"github.com/varvelog/varve/ingest/recordbatch"
)

// Batches whose compression is to change are compressed by a pool of workers, off the goroutine that orders batches. Order is kept by
// the connection's stage: a request with batches to compress, and every request behind it, goes through a goroutine that appends them in
// order of arrival, each when its batches are ready. A connection with nothing to compress never enters it, and neither does one that
// has only little to compress at a time.

// press is one batch of a request to be compressed anew.
type press struct {
	batch int // index in produceRequest.batches
	codec recordbatch.Codec
	level int
	eager bool   // the level is only Varve's choice: where the workers do not keep up, the fastest does
	limit int    // bytes the result may have
	room  *frame // what the result is in, if not in the request's frame
	err   error
}

// pressTo tells whether a batch of the given codec is to be compressed anew, and to what.
func (t *topic) pressTo(codec recordbatch.Codec) (recordbatch.Codec, bool) {
	switch t.compress {
	case compressUncompressed:
		return t.codec, codec == recordbatch.None
	case forceCompression:
		return t.codec, codec != t.codec
	default:
		return codec, false
	}
}

// level is the one a codec of the topic's compresses at, on recordbatch's scale.
func (t *topic) level(codec recordbatch.Codec) int {
	switch codec {
	case recordbatch.Gzip:
		return int(max(t.config.GzipLevel, 0)) // -1 is the codec's own
	case recordbatch.LZ4:
		if t.config.LZ4Level == kafkasFastLZ4 {
			return 0
		}
		return int(t.config.LZ4Level)
	case recordbatch.Zstd:
		return int(t.config.ZstdLevel)
	default:
		return 0
	}
}

// eager says whether nobody has asked for the level that batches are compressed at.
func (t *topic) eager(codec recordbatch.Codec) bool {
	return t.compress == compressUncompressed && codec == recordbatch.Zstd && t.config.ZstdLevel == defaultZstd
}

// defaultZstd is the level of topics that do not name one.
const defaultZstd = 3

// kafkasFastLZ4 is the level at which Kafka leaves lz4's levels alone and takes its fast compressor.
const kafkasFastLZ4 = 9

// pressPool is the workers. Its queue is bounded by its own length and by the budget of bytes in flight.
type pressPool struct {
	jobs     chan pressJob
	wait     sync.WaitGroup
	workers  int
	reserved bool // the workers stand back behind everything else

	// held are finished jobs that nobody has been told of yet.
	held struct {
		sync.Mutex
		done  []*sync.WaitGroup
		since time.Time // when the first of them finished
	}
}

// holdFor is how long a finished job is held back at most, apart from the time that the next one takes. Who waits for it waits behind more
// than one job for each worker anyway.
const holdFor = 10 * time.Millisecond

type pressJob struct {
	batch *lane.Batch
	press *press
	done  *sync.WaitGroup
}

func newPressPool(workers int) *pressPool {
	p := &pressPool{jobs: make(chan pressJob, 2*workers), workers: workers, reserved: reserve(workers)}
	for range workers {
		p.wait.Go(func() {
			if p.reserved {
				standBack()
			}
			for job := range p.jobs {
				p.hurry(job.press)
				job.press.run(job.batch)
				p.finished(job)
			}
		})
	}
	return p
}

// fastestZstd is the level, on zstd's scale, of its fastest compressor.
const fastestZstd = 1

// hurry lowers the level while more waits than the workers are about to take: then producers wait for the processor. It takes a third less
// of it, for bytes that are up to 8 % more in the hot log and none in the bucket, where tiering compresses everything again.
func (p *pressPool) hurry(job *press) {
	if job.eager && job.codec == recordbatch.Zstd && len(p.jobs) > p.workers {
		job.level = fastestZstd
	}
}

// finished tells of a job and of those held before it, unless enough others wait to keep the workers busy. A batch that goes on alone costs a
// chunk with its fsync, an entry of the log with another, and an answer; on busy cores each step of these takes a core from a worker, and its
// caches with it. So what is finished while more waits goes on together.
func (p *pressPool) finished(job pressJob) {
	p.held.Lock()
	defer p.held.Unlock()
	now := time.Now()
	if len(p.held.done) == 0 {
		p.held.since = now
	}
	p.held.done = append(p.held.done, job.done)
	if len(p.jobs) > p.workers && now.Sub(p.held.since) < holdFor {
		return
	}
	for i, done := range p.held.done {
		done.Done()
		p.held.done[i] = nil
	}
	p.held.done = p.held.done[:0]
}

// close ends the workers; nothing may be submitted any more.
func (p *pressPool) close() {
	close(p.jobs)
	p.wait.Wait()
	if p.reserved {
		giveBack(p.workers)
	}
}

// run compresses batch, whose Data and Header are those of the result afterwards. Where the result would not be smaller the batch stays.
func (p *press) run(batch *lane.Batch) {
	defer func() {
		if r := recover(); r != nil {
			p.err = fmt.Errorf("%w: panic compressing: %v\n%s", recordbatch.ErrInvalidRecord, r, debug.Stack())
		}
	}()
	room := newFrame(len(batch.Data), 0, nil)
	out, err := p.recode(room.bytes[:0], batch.Data)
	if err != nil {
		p.err = err
		room.release()
		return
	}
	if &out[0] == &batch.Data[0] {
		room.release()
		return
	}
	header, err := recordbatch.ParseHeader(out)
	if err == nil && len(out) > p.limit {
		err = fmt.Errorf("%w: %d bytes as %s, the limit is %d", recordbatch.ErrTooLarge, len(out), p.codec, p.limit)
	}
	if err != nil {
		p.err = err
		room.release()
		return
	}
	if &out[0] == &room.bytes[0] {
		p.room = room
	} else {
		room.release()
	}
	batch.Data, batch.Header = out, header
}

func (p *press) recode(dst, batch []byte) ([]byte, error) {
	if p.codec == recordbatch.None {
		return recordbatch.Decompress(dst, batch, p.limit)
	}
	return recordbatch.Compress(dst, batch, p.codec, p.level)
}

// pressStage keeps the order of a connection's produce requests across compression. Only the reading goroutine calls its methods.
type pressStage struct {
	queue   chan *stagedRequest // nil until something is compressed
	stopped chan struct{}
	depth   atomic.Int32 // requests in the stage
}

type stagedRequest struct {
	exchange *exchange
	pressed  sync.WaitGroup
}

// append hands x's batches to the lane, at once if nothing is to be waited for. It fails only when the connection ends while there is
// no room for results; nothing was taken then.
func (s *pressStage) append(c *conn, x *exchange) error {
	p := x.produce
	if len(p.presses) == 0 && s.depth.Load() == 0 {
		c.appendBatches(x)
		return nil
	}
	if err := c.chargePresses(x); err != nil {
		return err
	}
	if s.depth.Load() == 0 && p.pressesAreSmall() {
		for i := range p.presses {
			p.presses[i].run(&p.batches[p.presses[i].batch])
		}
		x.takePressed()
		c.appendBatches(x)
		return nil
	}
	if s.queue == nil {
		s.queue, s.stopped = make(chan *stagedRequest, c.server.config.MaxPipelined), make(chan struct{})
		go s.run(c)
	}
	staged := &stagedRequest{exchange: x}
	p.ready = make(chan struct{})
	s.depth.Add(1)
	for i := range p.presses {
		staged.pressed.Add(1)
		c.server.presses.jobs <- pressJob{batch: &p.batches[p.presses[i].batch], press: &p.presses[i], done: &staged.pressed}
	}
	s.queue <- staged
	return nil
}

// smallPressBytes take less time to compress, some tens of microseconds, than to hand to a worker and back.
const smallPressBytes = 8 << 10

// pressesAreSmall tells whether the reading goroutine had better compress by itself. What has to be inflated first is never small.
func (p *produceRequest) pressesAreSmall() bool {
	bytes := 0
	for i := range p.presses {
		batch := &p.batches[p.presses[i].batch]
		if bytes += len(batch.Data); bytes > smallPressBytes || batch.Header.Codec() != recordbatch.None {
			return false
		}
	}
	return true
}

// chargePresses takes room for the results from a budget of their own, which goes back with the frame. It is taken by the reading goroutine, so in
// order: a request that has it waits for none of its connection that has not.
func (c *conn) chargePresses(x *exchange) error {
	p, bytes := x.produce, int64(0)
	for i := range p.presses {
		size := len(p.batches[p.presses[i].batch].Data)
		if p.batches[p.presses[i].batch].Header.Codec() != recordbatch.None {
			size = max(size, p.presses[i].limit) // else the result is not larger
		}
		bytes += int64(size)
	}
	if bytes == 0 {
		return nil
	}
	charge, err := c.server.pressBudget.acquire(c.ctx, bytes)
	if err != nil {
		return fmt.Errorf("wait for room for compressed batches: %w", err)
	}
	held := &frame{class: -1, charge: charge, budget: c.server.pressBudget}
	held.refs.Store(1)
	x.frame.adopt(held)
	return nil
}

// run appends staged requests in order.
func (s *pressStage) run(c *conn) {
	defer close(s.stopped)
	for staged := range s.queue {
		staged.pressed.Wait()
		staged.exchange.takePressed()
		c.appendBatches(staged.exchange)
		close(staged.exchange.produce.ready)
		s.depth.Add(-1)
	}
}

// finish waits for the stage to be empty and ends it.
func (s *pressStage) finish() {
	if s.queue == nil {
		return
	}
	close(s.queue)
	<-s.stopped
	s.queue = nil // a connection that was parked begins again
}

// takePressed gives the compressed batches' memory to the frame, and takes out those that could not be compressed.
func (x *exchange) takePressed() {
	p, failed := x.produce, false
	for i := range p.presses {
		press := &p.presses[i]
		if press.room != nil {
			x.frame.adopt(press.room)
		}
		failed = failed || press.err != nil
	}
	if !failed {
		return
	}
	kept := p.batches[:0]
	for i := range p.partitions {
		part := &p.partitions[i]
		if part.batch < 0 {
			continue
		}
		if err := p.pressError(int(part.batch)); err != nil {
			part.refuse(batchError(err), "")
			continue
		}
		kept, part.batch = append(kept, p.batches[part.batch]), int32(len(kept))
	}
	p.batches = kept
}

func (p *produceRequest) pressError(batch int) error {
	for i := range p.presses {
		if p.presses[i].batch == batch {
			return p.presses[i].err
		}
	}
	return nil
}
