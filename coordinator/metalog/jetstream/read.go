package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/varvelog/varve/coordinator/metalog"
)

const (
	batchEntries = 512
	batchBytes   = 4 << 20
	// quietMillis bounds how long a replica may be silent within a batch before the stream's leader is asked instead, and how long
	// that may be silent before the read fails.
	quietMillis = 2000
)

// Read implements metalog.Log.
func (l *Log) Read(ctx context.Context, seq uint64) iter.Seq2[metalog.Record, error] {
	return func(yield func(metalog.Record, error) bool) {
		first, next, err := l.Bounds(ctx)
		switch {
		case err != nil:
			yield(metalog.Record{}, err)
			return
		case seq < first:
			yield(metalog.Record{}, fmt.Errorf("read %d, first is %d: %w", seq, first, metalog.ErrTruncated))
			return
		}
		for seq < next {
			read, err := l.readBatch(ctx, seq, next, yield)
			if err != nil {
				yield(metalog.Record{}, err)
				return
			}
			if read.stopped {
				return
			}
			seq = read.next
		}
	}
}

type progress struct {
	next    uint64
	stopped bool // by the consumer
}

// readBatch yields entries from seq on, at least one.
func (l *Log) readBatch(ctx context.Context, seq, end uint64, yield func(metalog.Record, error) bool) (progress, error) {
	inbox, err := l.nc.SubscribeSync(l.nc.NewRespInbox())
	if err != nil {
		return progress{}, fmt.Errorf("read %d: %w", seq, err)
	}
	// Fails only where the connection has ended, and the subscription with it.
	defer func() { _ = inbox.Unsubscribe() }()
	request := fmt.Appendf(nil, `{"seq":%d,"batch":%d,"max_bytes":%d}`, seq, min(batchEntries, end-seq), batchBytes)
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET."+l.stream, inbox.Subject, request); err != nil {
		return progress{}, fmt.Errorf("read %d: %w", seq, err)
	}
	start := seq
	for seq < end {
		m, err := nextMessage(ctx, inbox)
		if err != nil && ctx.Err() != nil {
			return progress{}, fmt.Errorf("read %d: %w", seq, err)
		}
		if err != nil || m.Header.Get("Status") != "" || m.Header.Get(jetstream.SequenceHeader) != strconv.FormatUint(seq, 10) {
			break // the end of the batch, or a replica that lags or fell silent
		}
		if !yield(metalog.Record{Seq: seq, Entry: m.Data}, nil) {
			return progress{stopped: true}, nil
		}
		seq++
	}
	if seq > start {
		return progress{next: seq}, nil
	}
	entry, err := l.readFromLeader(ctx, seq)
	if err != nil {
		return progress{}, err
	}
	return progress{next: seq + 1, stopped: !yield(metalog.Record{Seq: seq, Entry: entry}, nil)}, nil
}

func nextMessage(ctx context.Context, inbox *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, quietMillis*time.Millisecond)
	defer cancel()
	return inbox.NextMsgWithContext(ctx)
}

// readFromLeader reads one entry that is known to be in the stream. Where there is no leader nobody answers, not later either.
func (l *Log) readFromLeader(ctx context.Context, seq uint64) ([]byte, error) {
	once, cancel := context.WithTimeout(ctx, quietMillis*time.Millisecond)
	defer cancel()
	reply, err := l.nc.RequestWithContext(once, "$JS.API.STREAM.MSG.GET."+l.stream, fmt.Appendf(nil, `{"seq":%d}`, seq))
	if err != nil {
		return nil, fmt.Errorf("read %d: %w", seq, err)
	}
	var answer struct {
		Message struct {
			Data []byte `json:"data"`
		} `json:"message"`
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read %d: read answer: %w", seq, err)
	}
	if answer.Error == nil {
		return answer.Message.Data, nil
	}
	first, next, err := l.Bounds(ctx)
	switch {
	case err == nil && seq < first:
		return nil, fmt.Errorf("read %d, first is %d: %w", seq, first, metalog.ErrTruncated)
	case err == nil && seq < next && answer.Error.ErrCode == codeNoMessage:
		return nil, fmt.Errorf("read %d of [%d, %d): the stream has lost it: %w", seq, first, next, metalog.ErrCorrupt)
	}
	return nil, fmt.Errorf("read %d: %w", seq, errors.Join(answer.Error, err))
}
