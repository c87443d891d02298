package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"
)

const (
	fetchMaxBytes          = 50 << 20 // fetch.max.bytes of the clients that set none
	fetchMaxPartitionBytes = 1 << 20  // max.partition.fetch.bytes of the same
	fetchMaxWait           = 500 * time.Millisecond
)

// cursor is one connection's reading of some partitions of a topic.
type cursor struct {
	conn    *conn
	request *kmsg.FetchRequest
}

// newCursor reads the partitions from the offsets on.
func newCursor(ctx context.Context, addr, topic string, offsets map[int32]int64) (*cursor, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := c.introduce(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	request := kmsg.NewPtrFetchRequest()
	request.Version = fetchVersion
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = int32(fetchMaxWait.Milliseconds()), 1, fetchMaxBytes
	request.SessionEpoch = -1 // no fetch session
	requestTopic := kmsg.NewFetchRequestTopic()
	requestTopic.Topic = topic
	for partition, offset := range offsets {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, fetchMaxPartitionBytes
		requestTopic.Partitions = append(requestTopic.Partitions, p)
	}
	request.Topics = append(request.Topics, requestTopic)
	return &cursor{conn: c, request: request}, nil
}

// poll sends one Fetch, moves the cursor behind what came, and returns the bytes on the wire and whether every partition has been
// read to its high watermark.
func (c *cursor) poll() (wireBytes int64, atEnd bool, err error) {
	response := kmsg.NewPtrFetchResponse()
	if err := c.conn.call(c.request, response); err != nil {
		return 0, false, fmt.Errorf("fetch: %w", err)
	}
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return 0, false, fmt.Errorf("fetch: %w", err)
	}
	asked := c.request.Topics[0].Partitions
	answered, finished := 0, 0
	for _, topic := range response.Topics {
		for i := range topic.Partitions {
			p := &topic.Partitions[i]
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return 0, false, fmt.Errorf("fetch %s/%d: %w", topic.Topic, p.Partition, err)
			}
			answered++
			for j := range asked {
				if asked[j].Partition != p.Partition {
					continue
				}
				next, err := nextOffset(p.RecordBatches, asked[j].FetchOffset)
				if err != nil {
					return 0, false, err
				}
				asked[j].FetchOffset = next
				if next >= p.HighWatermark {
					finished++
				}
			}
		}
	}
	if answered != len(asked) {
		return 0, false, fmt.Errorf("fetch: %d partitions answered of %d", answered, len(asked))
	}
	return c.conn.answerBytes, finished == len(asked), nil
}

// offset is where the cursor stands in its only partition.
func (c *cursor) offset() int64 { return c.request.Topics[0].Partitions[0].FetchOffset }

func (c *cursor) close() error { return c.conn.close() }

// drain reads partitions 0 to partitions-1 of a topic from offset 0 to the end with so many connections, which share them.
func drain(ctx context.Context, addr, topic string, partitions int32, connections int) (moved, error) {
	return follow(ctx, addr, topic, partitions, connections, nil)
}

// follow reads as drain does, but once stop is given, only stops at the end after it was closed.
func follow(ctx context.Context, addr, topic string, partitions int32, connections int, stop <-chan struct{}) (moved, error) {
	results := make([]moved, connections)
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for i := range connections {
		offsets := map[int32]int64{}
		for p := int32(i); p < partitions; p += int32(connections) {
			offsets[p] = 0
		}
		group.Go(func() (err error) {
			c, err := newCursor(ctx, addr, topic, offsets)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.close()) }()
			defer c.conn.guard(ctx)()
			for {
				stopped := stop == nil || closed(stop)
				wireBytes, atEnd, err := c.poll()
				if err != nil {
					return err
				}
				results[i].requests, results[i].bytes = results[i].requests+1, results[i].bytes+wireBytes
				if atEnd && stopped {
					return nil
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return moved{}, err
	}
	var total moved
	for _, r := range results {
		total.add(r)
	}
	total.took = time.Since(begun)
	return total, nil
}
