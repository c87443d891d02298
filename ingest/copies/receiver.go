package copies

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/varvelog/varve/coordinator/metapb"
)

// Acceptor makes copies durable; the lanes are one.
type Acceptor interface {
	// AcceptCopy returns where the copy is durable. body is valid until it returns; crc is its CRC-32C.
	AcceptCopy(ctx context.Context, header Header, body []byte, crc uint32) (*metapb.ChunkCopy, error)
}

// ReceiverConfig says how a Receiver works. The zero value is the default.
type ReceiverConfig struct {
	// BudgetBytes bounds the chunks of all connections that are being made durable. Default 128 MiB.
	BudgetBytes int64
	// MaxChunkBytes is the largest chunk that is taken. Default 64 MiB.
	MaxChunkBytes int64
	// Trouble hears why copies were not taken. Nil means nobody does.
	Trouble func(operation string, err error)
}

// Receiver takes other nodes' chunks.
type Receiver struct {
	config   ReceiverConfig
	acceptor Acceptor
	budget   *semaphore.Weighted
	bodies   sync.Pool // of *[]byte
}

// NewReceiver returns a Receiver.
func NewReceiver(config ReceiverConfig, acceptor Acceptor) *Receiver {
	if config.BudgetBytes <= 0 {
		config.BudgetBytes = 128 << 20
	}
	if config.MaxChunkBytes <= 0 {
		config.MaxChunkBytes = 64 << 20
	}
	config.MaxChunkBytes = min(config.MaxChunkBytes, config.BudgetBytes)
	if config.Trouble == nil {
		config.Trouble = func(string, error) {}
	}
	return &Receiver{config: config, acceptor: acceptor, budget: semaphore.NewWeighted(config.BudgetBytes), bodies: sync.Pool{New: func() any { return new([]byte) }}}
}

// Serve takes chunks from conn until it fails or ends, or a chunk cannot be taken, and waits for what it has begun.
func (r *Receiver) Serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &receiving{Receiver: r, conn: conn, ctx: ctx}
	err := s.run()
	cancel()
	_ = conn.Close() // answers that are not sent yet would come too late
	s.running.Wait()
	if err != nil {
		r.config.Trouble("take copies", err)
	}
}

// receiving is one connection. Chunks are made durable side by side, so that they share the log's groups.
type receiving struct {
	*Receiver
	conn    net.Conn
	ctx     context.Context
	running sync.WaitGroup
	writer  sync.Mutex
}

func (s *receiving) run() error {
	reader := bufio.NewReaderSize(s.conn, 64<<10)
	var head [chunkFrameBytes]byte
	for {
		if _, err := io.ReadFull(reader, head[:]); err != nil {
			return nil // the sender has gone, or goes on elsewhere
		}
		var f chunkFrame
		if err := f.decode(&head); err != nil {
			return err
		}
		if int64(f.length) > s.config.MaxChunkBytes {
			return fmt.Errorf("chunk %d of node %d: %d bytes, at most %d are taken", f.Seq, f.Node, f.length, s.config.MaxChunkBytes)
		}
		if err := s.budget.Acquire(s.ctx, int64(f.length)); err != nil {
			return err
		}
		body := s.body(int(f.length))
		if _, err := io.ReadFull(reader, *body); err != nil {
			s.release(body)
			return nil
		}
		if crc32.Checksum(*body, castagnoli) != f.bodyCRC {
			s.release(body)
			return fmt.Errorf("chunk %d of node %d: %w: its body's checksum is wrong", f.Seq, f.Node, ErrFrame)
		}
		s.running.Go(func() { s.accept(f, body) })
	}
}

func (r *Receiver) body(length int) *[]byte {
	b := r.bodies.Get().(*[]byte)
	if cap(*b) < length {
		*b = make([]byte, length)
	}
	*b = (*b)[:length]
	return b
}

func (r *Receiver) release(body *[]byte) {
	r.budget.Release(int64(len(*body)))
	r.bodies.Put(body)
}

// accept makes one chunk durable and answers. The sender of one that is refused goes elsewhere with all it has.
func (s *receiving) accept(f chunkFrame, body *[]byte) {
	made, err := s.acceptor.AcceptCopy(s.ctx, f.Header, *body, f.bodyCRC)
	s.release(body)
	if err != nil {
		made = nil
		s.config.Trouble("take a copy", fmt.Errorf("chunk %d of node %d, epoch %d: %w", f.Seq, f.Node, f.Epoch, err))
	}
	answer := answerFrame{f.id, made}
	var b [answerFrameBytes]byte
	answer.encode(&b)
	s.writer.Lock()
	defer s.writer.Unlock()
	if _, err := s.conn.Write(b[:]); err != nil {
		_ = s.conn.Close() // the reader ends with it
	}
}
